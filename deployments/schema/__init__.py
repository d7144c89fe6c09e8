"""Building blocks for declaring settings: metadata, value types, sections, errors. Knows no engine and no deployment.

class VllmSettings(EngineSettings):
    max_num_batched_tokens: Annotated[
        int | None, Whole(ge=1), Setting("Max batched tokens", unit="tokens"), Flag("--max-num-batched-tokens")
    ] = None
"""
