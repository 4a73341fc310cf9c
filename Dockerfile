# The demo as an image: CPU only, not root, and content with a read-only file system (linted, not yet built):
#   docker build -t calcinosis .
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:7860:7860 calcinosis
# Python 3.11 is what the tests ran on.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860

WORKDIR /srv/calcinosis
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt \
    && useradd --system --no-create-home --uid 10001 calcinosis
COPY app.py pyproject.toml ./
COPY calcinosis/ calcinosis/
COPY common/ common/
COPY model/ model/
COPY page/ page/
USER 10001
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["python", "app.py"]
