"""The demo, as a Hugging Face Space or `python app.py` starts it; `calcinosis demo` does the same."""

from calcinosis.page.server import main

if __name__ == "__main__":
    main()
