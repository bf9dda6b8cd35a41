"""`python -m services.inference.engine.compiling`: compiles JSON schemas on trial for an engine.

llguidance's own limits don't reach all of its work: whether 40 patterns can hold of one string
keeps it busy for hours. A schema that compiles here within bounds does so in the engine.
"""

from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from services.inference.engine.bounded import serve

# They bound compiling to about 0.1 s where they reach, a token to about 20 ms, and a row to some
# tens of megabytes; the library's own defaults bound the rest.
LIMITS = LLParserLimits(
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=20_000,
    max_grammar_size=500_000,
    verbose_errors=False,
)


def _compile(asked: dict[str, Any]) -> dict[str, str]:
    """Compile each; what is wrong with one, the engine finds out itself."""
    tokenizer = LLTokenizer("byte")
    for schema in asked["schemas"]:
        grammar = LLMatcher.grammar_from_json_schema(schema)
        LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
    return {}


if __name__ == "__main__":
    serve(_compile)
