from pathlib import Path


def schemathesis_toml() -> str:
    """What the judge of the OpenAPI document cannot know."""
    return (Path(__file__).parent / "schemathesis.toml").read_text()
