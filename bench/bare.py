"""The smallest Flask application: what the API's requests are compared with."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> dict[str, str]:
    """A constant."""
    return {"hello": "world"}
