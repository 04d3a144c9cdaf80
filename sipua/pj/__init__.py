"""pjsua2: the only package that imports it. One thread owns the library; frozen dataclasses cross the border."""
