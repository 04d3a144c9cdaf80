"""The OpenAI Realtime protocol: core, client, backends and the offline emulator. The only importer of websockets."""
