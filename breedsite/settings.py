"""Settings of the site. Every value has a default, so a clean checkout starts with nothing set; every value is read
from the environment, and a wrong one stops the start with a sentence that names the variable.

`SITE_URL` decides the profile: an http loopback address is local, https is production (see README, "Settings").
"""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import get_random_string
from kombu import Queue

from breedsite import profile
from breedsite.environment import Environment, shared_storage
from breedsite.rates import Rate
from classifier.gate import OTHER_BODY_BYTES

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).expanduser().resolve()


def secret_key() -> str:
    """The key of this installation: made once, kept in the data folder, readable by its owner alone."""
    file = DATA_DIR / "secret_key"
    try:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            # Whole before it has its name: on a full disk, or read by a second process at this moment, it is no key.
            with tempfile.NamedTemporaryFile("w", dir=DATA_DIR, prefix="secret_key.") as out:  # mode 0600
                out.write(get_random_string(64))
                out.flush()
                with suppress(FileExistsError):  # another was quicker: its key holds
                    os.link(out.name, file)
        return file.read_text()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data folder {DATA_DIR} cannot be written ({error.strerror}): "
            "set DATA_DIR to a folder that this user may write to."
        ) from error


def rate(name: str, default: str) -> Rate | None:
    try:
        return Rate.parse(os.environ.get(name, default))  # an empty one is not an unset one here
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def socket_path(name: str) -> Path:
    """A unix socket of this data folder; where its path would pass the kernel's 107 bytes, in a folder of our own below
    the temporary one, which everybody may write to: nobody else may have put it there.
    """
    path = DATA_DIR / name
    if len(os.fsencode(path)) <= 100:
        return path
    folder = Path(tempfile.gettempdir()) / f"breedsite-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700 or not stat.S_ISDIR(found.st_mode):
        raise ImproperlyConfigured(f"{folder} is not a private folder of this user: set DATA_DIR to a shorter path.")
    return folder / name


# --- where it lives and who may ask -------------------------------------------------------------------------------
HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
SITE_URL = env.str("SITE_URL", default=f"http://127.0.0.1:{PORT}").rstrip("/")
PRODUCTION = profile.is_production(SITE_URL)
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)  # how many proxies before this server are ours
DEBUG = False
SECRET_KEY_IS_OURS = not env.str("SECRET_KEY", default="")  # of this data folder, and no other host has it
SECRET_KEY = env.str("SECRET_KEY", default="") or secret_key()
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=profile.own_hosts(SITE_URL))
CSRF_TRUSTED_ORIGINS = [SITE_URL]
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])  # other sites' pages that may ask; none by default
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = [*default_headers, "idempotency-key"]
CORS_EXPOSE_HEADERS = ["Retry-After", "X-Request-ID", "Idempotency-Replayed"]
SESSION_COOKIE_SECURE = env.bool("SESSION_COOKIE_SECURE", default=PRODUCTION)
CSRF_COOKIE_SECURE = env.bool("CSRF_COOKIE_SECURE", default=PRODUCTION)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31536000 if PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_SSL_REDIRECT = PRODUCTION
SECURE_REDIRECT_EXEMPT = [r"^readyz$", r"^metrics$"]  # a load balancer and Prometheus ask the process itself
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

for refusal in profile.refusals(
    profile.Start(
        site_url=SITE_URL,
        debug=env.bool("DEBUG", default=False),
        secret_key=SECRET_KEY,
        secret_key_mode=None if env.str("SECRET_KEY", default="") else (DATA_DIR / "secret_key").stat().st_mode,
        allowed_hosts=ALLOWED_HOSTS,
        trusted_proxies=TRUSTED_PROXIES,
        session_cookie_secure=SESSION_COOKIE_SECURE,
        csrf_cookie_secure=CSRF_COOKIE_SECURE,
        hsts_seconds=SECURE_HSTS_SECONDS,
        cors_allowed_origins=CORS_ALLOWED_ORIGINS,
    )
):
    raise ImproperlyConfigured(refusal)

# --- what one caller may do ---------------------------------------------------------------------------------------
ALLOW_ANONYMOUS_PREDICT = env.bool("ALLOW_ANONYMOUS_PREDICT", default=True)
PREDICT_RATE = rate("PREDICT_RATE", default="600/min")  # predictions of one address or account; empty for no limit
LOGIN_RATE = rate("LOGIN_RATE", default="10/min")  # attempts of one address to sign in
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")  # with it /metrics may be read from elsewhere
KEY_RATE = rate("KEY_RATE", default="600/min")  # calls of one key that has no rate of its own

# --- the parts ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "breedsite",
    "classifier",
    "trainer",
]
MIDDLEWARE = [
    "breedsite.middleware.request_id",
    "breedsite.middleware.browser_rules",
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "breedsite.middleware.login_brake",
    "breedsite.middleware.plain_refusals",
]
ROOT_URLCONF = "breedsite.urls"
WSGI_APPLICATION = "breedsite.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- data ---------------------------------------------------------------------------------------------------------
DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{quote(str(DATA_DIR / 'breedsite.sqlite3'))}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["ENGINE"] = "breedsite.sqlite"  # Django's, with a line before the write lock
    # IMMEDIATE with WAL: without them half of all writes of four processes fail with "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds
        # A slow reader lets the log of writes grow; once it is written back, it shrinks to so many bytes.
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA journal_size_limit=16777216",
    }
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}  # a database in memory has other locks
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # No CONN_MAX_AGE: each thread would keep a connection, and there are more of them than PostgreSQL lets in.
    # A server that does not even refuse would hold a thread for minutes.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)  # seconds
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]  # nothing is written to disk
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
VALKEY_SOCKET = socket_path("valkey.sock")
CACHE_URL = env.address("CACHE_URL", default=f"unix://{VALKEY_SOCKET}?db=1", kinds=("redis", "rediss", "unix"))
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL,
        "OPTIONS": {"socket_connect_timeout": 1.0, "socket_timeout": 1.0},  # seconds; nobody waits for a lost cache
    }
}
VERSIONS_DIR = DATA_DIR / "versions"
BATCHES_DIR = DATA_DIR / "batches"  # photos sent to be answered together
BATCH_KEEP_DAYS = env.float("BATCH_KEEP_DAYS", default=7.0)  # how long the photos of a batch stay after its end
DATASETS_DIR = DATA_DIR / "datasets"
RUNS_DIR = DATA_DIR / "runs"  # logs and checkpoints of trainings
SETS_DIR = DATA_DIR / "sets"  # files of sets that everybody knows, once they were downloaded
UPLOADS_DIR = DATA_DIR / "uploads"  # zips of photos on their way into a dataset
FEATURES_DIR = Path(env.str("FEATURES_DIR", default=str(DATA_DIR / "features"))).expanduser().resolve()
FEATURE_CACHE_BYTES = env.int("FEATURE_CACHE_BYTES", default=2 * 1024**3)  # of what frozen backbones saw, kept there
DATASETS_SOURCE_DIRS = [  # whose folders and zips the admin may import
    Path(folder).expanduser().resolve() for folder in env.list("DATASETS_SOURCE_DIRS", default=[])
]
# The storage of files that hosts share, each of which has a DATA_DIR of its own (breedsite.storage); empty: DATA_DIR.
STORAGE_URL = env.storage("STORAGE_URL")
STORAGE_CACHE_BYTES = env.int("STORAGE_CACHE_BYTES", default=50 * 1024**3)  # of it that lie on this host; 0: no limit
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    **({"shared": shared_storage(STORAGE_URL)} if STORAGE_URL else {}),
}
_weights = env.str("WEIGHTS_DIR", default="")
WEIGHTS_DIR = Path(_weights).expanduser().resolve() if _weights else None  # published weights, for want of a network

# --- training ---------------------------------------------------------------------------------------------------
TORCH_DEVICE = env.matching(
    "TORCH_DEVICE", default="auto", pattern=r"auto|cpu|cuda(:\d{1,3})?", hint="auto, cpu, cuda or one such as cuda:0"
)
DEVICES_PER_RUN = env.matching(  # that train one network together
    "DEVICES_PER_RUN", default="1", pattern=r"all|[1-9]|1[0-6]", hint="a number from 1 to 16, or all"
)

# --- predicting ---------------------------------------------------------------------------------------------------
CORES = len(os.sched_getaffinity(0))
MAX_IMAGE_BYTES = env.int("MAX_IMAGE_BYTES", default=10 * 1024**2)
PREDICT_BODY_BYTES = MAX_IMAGE_BYTES * 3 // 2  # a photo in base64
DATA_UPLOAD_MAX_MEMORY_SIZE = max(PREDICT_BODY_BYTES, OTHER_BODY_BYTES)  # of any path; the gate knows the limit of each
WEB_PROCESSES = env.int("WEB_PROCESSES", default=min(CORES, 4))  # Python in one of them runs on one core at a time
PREDICT_THREADS = env.int("PREDICT_THREADS", default=CORES)  # of a lonely request, or one each of several
# Requests that may wait in each web process; beyond those the answer is 503.
PREDICT_QUEUE = env.int("PREDICT_QUEUE", default=-(-16 * CORES // max(WEB_PROCESSES, 1)))
PREDICT_WAIT_SECONDS = env.float("PREDICT_WAIT_SECONDS", default=2.0)  # in the queue, at most
# Where passes for web requests are made: cpu is ONNX Runtime in each web process, anything else is one engine process
# with torch beside them, and cpu:0 is torch's name of the processor, to try that without a GPU.
PREDICT_DEVICE = env.matching(
    "PREDICT_DEVICE", default="cpu", pattern=r"cpu(:0)?|cuda(:\d{1,3})?", hint="cpu, cuda or one such as cuda:0"
)
# With the machine's name in it: DATA_DIR may be a folder that several mount, and each has an engine process of its own.
ENGINE_SOCKET = socket_path(f"engine-{os.uname().nodename}.sock") if PREDICT_DEVICE != "cpu" else None
VERSION_POLL_SECONDS = env.float("VERSION_POLL_SECONDS", default=1.0)  # how often the active version is looked up

# --- jobs ---------------------------------------------------------------------------------------------------------
BROKER_URL = env.address(
    "BROKER_URL",
    default=f"redis+socket://{VALKEY_SOCKET}?virtual_host=0",
    kinds=("redis", "rediss", "redis+socket", "amqp", "amqps"),
)
CELERY_BROKER_URL = BROKER_URL
CELERY_TASK_DEFAULT_QUEUE = BROKER_QUEUE = env.str(
    "BROKER_QUEUE", default="breedsite"
)  # two sites on one broker need two
WORKER_QUEUES = env.matching(  # what the workers started with these settings do
    "WORKER_QUEUES",
    default="train,batch,import",
    pattern=r"(train|batch|import)(,(train|batch|import))*",
    hint="train, batch, import, or several of them with commas between",
).split(",")
CELERY_TASK_QUEUES = [Queue(name) for name in (BROKER_QUEUE, *(f"{BROKER_QUEUE}.{kind}" for kind in WORKER_QUEUES))]
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Nobody asks a worker anything by its name, and on RabbitMQ a second one of the same machine could not start.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
WORKER_SLOTS = env.int("WORKER_SLOTS", default=2)  # processes of the worker that `manage.py up` starts
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever: by itself the worker gives up after an hour or so
HEARTBEAT_SECONDS = env.float("HEARTBEAT_SECONDS", default=15.0)  # how often who works on a job says that it lives
LEASE_SECONDS = env.float("LEASE_SECONDS", default=75.0)  # of silence, after which a job is taken back
RECONCILE_SECONDS = env.float("RECONCILE_SECONDS", default=30.0)  # how often the worker looks for forgotten jobs
BACKOFF_SECONDS = [10, 60, 300]  # pauses of a job after the first, second and third death of its process

# --- pages --------------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
_examples = env.str("EXAMPLES_DIR", default="")
EXAMPLES_DIR = Path(_examples).expanduser().resolve() if _examples else None  # pictures to click on the empty page

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
CSRF_FAILURE_VIEW = "breedsite.errors.csrf_failure"

# --- the API ------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "breedsite.operations.Operation",
    "EXCEPTION_HANDLER": "breedsite.errors.api_problem",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "breedsite",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "displayRequestDuration": True, "validatorUrl": None},
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["classifier.schema.without_twins"],
    "POSTPROCESSING_HOOKS": ["classifier.schema.introduce"],
}

# --- log ----------------------------------------------------------------------------------------------------------
LOG_FORMAT = env.matching("LOG_FORMAT", default="line", pattern="line|json", hint="line or json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "classifier.logs.Line"}, "json": {"()": "classifier.logs.Json"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # Their own handlers (mail, console) would tell everything twice.
        "django": {"handlers": [], "level": "INFO"},
        "waitress.queue": {"level": "ERROR"},  # a full house is the gate's business, and no news
    },
}
