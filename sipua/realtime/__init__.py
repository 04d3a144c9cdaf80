"""The OpenAI Realtime protocol: core, client, backends, offline emulator. The only importer of websockets."""
