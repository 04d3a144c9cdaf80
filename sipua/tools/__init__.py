"""What the model can have done during a call: typed tools, tools of others (HTTP, MCP), and the box that runs them.

Tools know a call by its ``ToolContext`` only; nothing here imports ``sipua.call``.
"""
