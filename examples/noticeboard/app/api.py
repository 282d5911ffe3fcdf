"""The api: `GET` and `POST /notices`, for those who bring the token."""

import hmac
import json

import settings
from database import Database, DatabaseError
from server import Handler, Problem, serve

LIST = """
SELECT coalesce(json_agg(notice), '[]') FROM (
    SELECT id, title, body, created_at AS "createdAt", published_at AS "publishedAt"
    FROM notices ORDER BY id DESC LIMIT 50
) AS notice;
"""

# A second request under the same key finds the first one's notice.
WRITE = """
WITH written AS (
    INSERT INTO notices (title, body, request_key) VALUES (:'title', :'body', nullif(:'key', ''))
    ON CONFLICT (request_key) DO NOTHING RETURNING *
), notice AS (
    SELECT *, false AS repeated FROM written
    UNION ALL
    SELECT *, true FROM notices WHERE request_key = :'key'
)
SELECT json_build_object('id', id, 'title', title, 'body', body, 'createdAt', created_at, 'publishedAt', published_at,
    'repeated', repeated) FROM notice;
"""


class Api(Handler):
    database: Database
    token: str

    def authorize(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise Problem(401, "the token is missing or wrong")

    def value(self, statement: str, parameters: dict[str, str] | None = None):
        try:
            return self.database.value(statement, parameters)
        except DatabaseError as error:
            print(f"error: {error}", flush=True)
            raise Problem(503, "the database gave no answer; the log says more") from error

    def list(self) -> None:
        self.authorize()
        self.json(200, {"notices": self.value(LIST)})

    def write(self) -> None:
        self.authorize()
        try:
            notice = json.loads(self.body())
            title, body = notice["title"].strip(), notice["body"].strip()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Problem(400, 'a notice is {"title": "…", "body": "…"}') from error
        for name, text, limit in (("title", title, 120), ("body", body, 4000)):
            if not 1 <= len(text) <= limit or "\0" in text:
                raise Problem(422, f"{name} has 1 to {limit} characters, and no NUL")
        key = self.headers.get("Idempotency-Key", "")
        if len(key) > 200 or not key.isascii():
            raise Problem(400, "an Idempotency-Key has at most 200 ASCII characters")
        written = self.value(WRITE, {"title": title, "body": body, "key": key})
        if written["repeated"] and (written["title"], written["body"]) != (title, body):
            raise Problem(422, "this Idempotency-Key was used before, for another notice")
        self.json(200 if written["repeated"] else 201, written)


def main() -> None:
    values = settings.read(["PORT", "DATABASE_URL", "API_TOKEN"], HOST="127.0.0.1")
    Api.token = values["API_TOKEN"]
    Api.database = Database(values["DATABASE_URL"])
    Api.checks = {"database": lambda: Api.database.run("SELECT FROM notices LIMIT 1;", timeout=3)}
    Api.routes = {"GET /notices": Api.list, "POST /notices": Api.write}
    serve(Api, values["HOST"], values["PORT"])


if __name__ == "__main__":
    main()
