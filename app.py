"""The demo, as a Hugging Face Space or `python app.py` starts it; `calcinosis demo` does the same."""

from calcinosis.common.errors import CalcinosisError
from calcinosis.common.extras import needs_extra


@needs_extra("demo")
def app() -> None:
    """Serve the page as the environment asks for it."""
    from calcinosis.page.ports import asked_port

    asked_port()
    from calcinosis.page.server import main

    main()


if __name__ == "__main__":
    try:
        app()
    except CalcinosisError as error:
        raise SystemExit(f"calcinosis: {error}") from None
