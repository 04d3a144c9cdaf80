"""A person at a sound device of this machine: what `sipua call --mic` needs beside the softphone."""
