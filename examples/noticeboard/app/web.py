"""The page: `GET /`, and its form, `POST /`. What it shows and writes goes through the api."""

import html
import json
import secrets
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import parse_qs

import settings
from server import Handler, Problem, serve

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Notices · {name}</title>
<style>
:root {{ color-scheme: light; --cork: #d8b98a; --edge: #8a6437; --ink: #26313b; --pin: #c0392b; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; min-height: 100vh; padding: 2rem 1rem; background: var(--cork); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }}
main {{ max-width: 60rem; margin: auto; }}
h1 {{ margin: 0 0 1.5rem; font-size: 2rem; color: #4a3216; }}
.board {{ display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); align-items: start; }}
article, form {{ position: relative; padding: 1.5rem 1.1rem 1rem; background: #fffef6; box-shadow: 0 3px 8px #0004; }}
article::before {{ content: ""; position: absolute; top: 0.45rem; left: 50%; width: 0.7rem; height: 0.7rem;
  margin-left: -0.35rem; border-radius: 50%; background: var(--pin); box-shadow: 0 2px 2px #0005; }}
article.queued {{ opacity: 0.65; }}
article.queued::before {{ background: #999; }}
h2 {{ margin: 0 0 0.4rem; font-size: 1.1rem; overflow-wrap: anywhere; }}
p {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
small {{ display: block; margin-top: 0.8rem; color: #66707a; }}
form {{ display: grid; gap: 0.7rem; background: #fdf3b4; }}
input, textarea {{ width: 100%; padding: 0.45rem; border: 1px solid #0003; background: #fff9; font: inherit; }}
button {{ justify-self: start; padding: 0.45rem 1rem; border: 0; background: var(--edge); color: #fff; font: inherit; cursor: pointer; }}
[role=alert] {{ color: var(--pin); }}
</style>
</head>
<body>
<main>
<h1>Notices of {name}</h1>
<div class="board">
<form method="post" action="/">
<label>Title<input name="title" required maxlength="120" value="{title}"></label>
<label>Notice<textarea name="body" required maxlength="4000" rows="4">
{body}</textarea></label>
<input type="hidden" name="key" value="{key}">
<button>Pin it up</button>{complaint}
</form>
{notices}
</div>
</main>
</body>
</html>
"""

NOTICE = '<article class="{state}"><h2>{title}</h2><p>{body}</p><small>{when}</small></article>'


class Web(Handler):
    api: str
    token: str
    name: str

    def ask(self, path: str, content: Any = None, key: str = "") -> Any:
        """Asks the api."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.api + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=13) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            # The api explains what is wrong with a notice; the rest is nothing for visitors.
            if error.code == 422:
                raise Problem(422, json.load(error)["detail"]) from error
            print(f"error: the api answered {error.code} to {path}", flush=True)
            raise Problem(502, "the notices can't be had at the moment") from error
        except (OSError, ValueError) as error:
            print(f"error: the api gave no answer to {path}: {error}", flush=True)
            raise Problem(502, "the notices can't be had at the moment") from error

    def show(self, status: int = 200, complaint: str = "", title: str = "", body: str = "") -> None:
        notices = self.ask("/notices")["notices"]
        page = PAGE.format(
            name=html.escape(self.name),
            title=html.escape(title),
            body=html.escape(body),
            key=secrets.token_hex(16),
            complaint=f'<span role="alert">{html.escape(complaint)}</span>' if complaint else "",
            notices="\n".join(map(notice, notices)),
        )
        self.answer(status, "text/html; charset=utf-8", page.encode(), {"Content-Security-Policy": POLICY})

    def write(self) -> None:
        form = {name: values[0] for name, values in parse_qs(self.body().decode(errors="replace")).items()}
        # Browsers send line breaks as CR LF.
        title, body = form.get("title", ""), form.get("body", "").replace("\r\n", "\n")
        try:
            self.ask("/notices", {"title": title, "body": body}, form.get("key", ""))
        except Problem as problem:
            if problem.status != 422:
                raise
            self.show(422, problem.detail, title, body)
        else:
            self.answer(303, "text/plain", b"", {"Location": "/"})


def notice(value: dict[str, Any]) -> str:
    published = value["publishedAt"]
    return NOTICE.format(
        state="published" if published else "queued",
        title=html.escape(value["title"]),
        body=html.escape(value["body"]),
        when=f"pinned up {published[:16].replace('T', ' ')}" if published else "waits to be pinned up",
    )


def main() -> None:
    values = settings.read(["PORT", "API_URL", "API_TOKEN"], HOST="127.0.0.1", BOARD_NAME="everybody")
    Web.api, Web.token, Web.name = values["API_URL"].rstrip("/"), values["API_TOKEN"], values["BOARD_NAME"]
    Web.checks = {"api": check_api}
    Web.routes = {"GET /": Web.show, "POST /": Web.write}
    serve(Web, values["HOST"], values["PORT"])


def check_api() -> None:
    with urllib.request.urlopen(Web.api + "/health/live", timeout=3):
        pass


if __name__ == "__main__":
    main()
