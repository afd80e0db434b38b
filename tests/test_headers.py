"""What protects a browser: the rules of every page, tokens of forms, other origins, other hosts."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

PAGES = [
    "/",
    "/nothing",
    "/login/",
    "/admin/login/",
    "/admin/",
    "/api/docs",
    "/api/docs?script=",
    "/api/schema",
    "/api/model",
    "/readyz",
]


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_the_rules(client: Client, active_version, path: str):
    headers = client.get(path).headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Permissions-Policy"].startswith("camera=(self)")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert len(headers["X-Request-ID"]) == 16
    assert "Server" not in headers and "X-Powered-By" not in headers


def test_numbers_of_requests_differ(client: Client, db):
    assert len({client.get("/nothing").headers["X-Request-ID"] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("accept", "json"), [("text/html", False), ("*/*", False), ("application/json", True), ("", False)]
)
def test_a_missing_page_is_told_in_the_askers_language(client: Client, db, accept: str, json: bool):
    response = client.get("/nothing", headers={"accept": accept})
    assert response.status_code == 404
    sentence = "There is nothing at this address."
    if json:
        assert response.json()["detail"] == sentence and response.json()["code"] == "not_found"
    else:
        assert sentence in response.text and response.headers["Content-Type"].startswith("text/html")


def test_under_api_it_is_always_json(client: Client, db):
    response = client.get("/api/nothing", headers={"accept": "text/html"})
    assert response.headers["Content-Type"] == "application/problem+json" and response.json()["status"] == 404


@pytest.fixture
def production(settings) -> Client:
    """A browser before the site as an https SITE_URL with one proxy sets it."""
    settings.ALLOWED_HOSTS = ["breeds.example.org"]
    settings.TRUSTED_PROXIES = 1
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT = settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_HSTS_SECONDS = 31536000
    return Client(headers={"host": "breeds.example.org"})


def test_production_sends_plain_http_to_https(production: Client, db):
    response = production.get("/admin/login/")
    assert response.status_code == 301 and response.headers["Location"] == "https://breeds.example.org/admin/login/"
    assert production.get("/readyz").status_code in {200, 503}, "a load balancer asks without a proxy"


def test_production_behind_its_proxy_answers_with_hsts_and_secure_cookies(production: Client, db):
    response = production.get("/admin/login/", headers={"x-forwarded-proto": "https"})
    assert response.status_code == 200 and response.headers["Strict-Transport-Security"].startswith("max-age=31536000")
    assert response.cookies["csrftoken"]["secure"]


# --- tokens of forms


@pytest.fixture
def browser(db) -> Client:
    """Signed in, and checked for the form's token as a real one is."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("ann"))
    return client


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/json"])
def test_a_signed_in_browser_without_the_token_is_refused(browser: Client, active_version, picture, content_type: str):
    response = browser.post("/api/predictImage", picture, content_type=content_type)
    if content_type == "image/jpeg":
        assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")
    else:
        assert response.status_code in {400, 403}


def test_a_signed_in_browser_with_the_token_is_answered(browser: Client, active_version, picture):
    from django.core.files.uploadedfile import SimpleUploadedFile

    token = "t" * 32
    browser.cookies["csrftoken"] = token
    header = {"x-csrftoken": token}
    assert browser.post("/api/predictImage", picture, content_type="image/jpeg", headers=header).status_code == 200
    file = SimpleUploadedFile("dog.jpg", picture)
    form = {"image": file, "csrfmiddlewaretoken": token}
    assert browser.post("/api/predictImage", form).status_code == 200, "in the form, as a page without scripts sends it"
    file.seek(0)
    assert browser.post("/api/predictImage", {"image": file, "csrfmiddlewaretoken": "x" * 32}).status_code == 403


def test_a_program_needs_no_token(active_version, picture):
    client = Client(enforce_csrf_checks=True)
    assert client.post("/api/predictImage", picture, content_type="image/jpeg").status_code == 200


def test_signing_in_needs_the_token(db):
    client = Client(enforce_csrf_checks=True)
    response = client.post("/admin/login/", {"username": "a", "password": "b"})
    assert response.status_code == 403 and "The form has expired" in response.text


# --- other origins and hosts


def test_pages_of_other_origins_may_not_read_answers(client: Client, active_version, picture):
    response = client.post(
        "/api/predictImage", picture, content_type="image/jpeg", headers={"origin": "https://a.example"}
    )
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_they_may_where_the_operator_says_so(client: Client, active_version, picture, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://a.example"]
    for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
        response = client.post("/api/predictImage", picture, content_type="image/jpeg", headers={"origin": origin})
        assert response.status_code == 200
        assert response.headers.get("Access-Control-Allow-Origin") == allowed
        assert "Access-Control-Allow-Credentials" not in response.headers
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert (
        client.options("/api/predictImage", headers=asked).headers["Access-Control-Allow-Origin"] == "https://a.example"
    )
    assert "Access-Control-Allow-Origin" not in client.get("/admin/login/", headers=asked).headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80@localhost", "[::ffff:1.2.3.4]"]
)
def test_another_host_is_refused(client: Client, db, host: str):
    response = client.get("/", headers={"host": host})
    assert response.status_code == 400 and host not in response.text
