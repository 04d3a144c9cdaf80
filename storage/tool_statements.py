"""SQL of the tools that models call, for ``statements``. ``args`` and ``result`` are JSON objects or NULL."""

from __future__ import annotations

from storage.facts import ToolCalled, ToolDone

_TOOL_CALLED = """
INSERT INTO public.mcp_tool_calls (id, call_id, server, tool, args, t)
SELECT id, call_id, server, coalesce(tool, 'unnamed'), args, t
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id uuid, call_id uuid, server text, tool text, args jsonb, t timestamptz)
ON CONFLICT (id) DO NOTHING
"""
_TOOL_DONE = """
UPDATE public.mcp_tool_calls AS m SET result = r.result, success = r.success, error = r.error
FROM jsonb_to_recordset(%s::jsonb) AS r (id uuid, result jsonb, success boolean, error text)
WHERE m.id = r.id AND m.success IS NULL
"""

SQL = {ToolCalled.__name__: _TOOL_CALLED, ToolDone.__name__: _TOOL_DONE}
