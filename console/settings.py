"""Django settings. Everything from outside comes through console.env; PostgreSQL and Redis are required."""

import os
from urllib.parse import unquote, urlparse

import django_stubs_ext
from redis.maint_notifications import MaintNotificationsConfig

from console import env

django_stubs_ext.monkeypatch()  # QuerySet[Model] and ModelAdmin[Model] work at run time too

ENVIRONMENT = env.read_with_dotenv(os.environ)
BASE_DIR = env.ROOT
DATA_DIR = ENVIRONMENT.data_dir

SECRET_KEY = ENVIRONMENT.secret_key
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = [ENVIRONMENT.host, "127.0.0.1", "localhost", *ENVIRONMENT.allowed_hosts]
INTERNAL_SERVER_NAME = "Models Console"

INSTALLED_APPS = [
    "console",
    "billing",
    "deployments",
    "accounts",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.usersessions",
    "channels",
    "django_htmx",
]

MIDDLEWARE = [
    "console.middleware.request_id",
    "console.api.problems.problem_documents",
    "django.middleware.security.SecurityMiddleware",
    "console.middleware.content_security_policy",
    "console.middleware.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "console.middleware.actor",
    "allauth.account.middleware.AccountMiddleware",
    "console.middleware.SessionActivity",
    "console.middleware.FlashMessages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "console.middleware.DeletedMeanwhile",
    "console.middleware.UnreadableConfiguration",
]

ROOT_URLCONF = "console.urls"
ASGI_APPLICATION = "console.asgi.application"

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
                "console.components.layout.layout_context",
            ],
            "builtins": ["console.components.template_tags"],
        },
    }
]


def _database(url: str) -> dict[str, object]:
    parts = urlparse(url)
    return {
        "ENGINE": "console.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        # Under ASGI, CONN_MAX_AGE gives a new connection per request; the pool does not.
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 12, "timeout": 10}},
    }


DATABASES = {"default": _database(ENVIRONMENT.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = ENVIRONMENT.redis_url
# With notifications of maintenance, a pool of connections does not notice that the server has closed one.
REDIS_OPTIONS = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}

CACHES = {
    "default": {
        "BACKEND": "console.cache.SharedCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "mc:cache",
        "OPTIONS": {**REDIS_OPTIONS, "socket_timeout": 1, "socket_connect_timeout": 1},
    }
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "mc:ui"},
    }
}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TIMEZONE = "UTC"
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = LOGIN_URL
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_FORMS = {
    "change_password": "accounts.allauth_forms.ChangePasswordForm",
    "reset_password": "accounts.allauth_forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.allauth_forms.ResetPasswordKeyForm",
}
PASSWORD_RESET_TIMEOUT = 24 * 3600
ACCOUNT_ADAPTER = "accounts.allauth_adapter.AccountAdapter"
MAIL_SERVER = ENVIRONMENT.mail_server
# The links of a demo are for whoever reads its terminal.
SENDS_EMAIL = bool(MAIL_SERVER or ENVIRONMENT.demo)
_MAIL_BACKEND = "smtp" if MAIL_SERVER else "console" if SENDS_EMAIL else "dummy"
EMAIL_BACKEND = f"django.core.mail.backends.{_MAIL_BACKEND}.EmailBackend"
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENVIRONMENT.from_email
EMAIL_TIMEOUT = 10
if MAIL_SERVER:
    EMAIL_HOST, EMAIL_PORT = MAIL_SERVER.host, MAIL_SERVER.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = MAIL_SERVER.user, MAIL_SERVER.password
    EMAIL_USE_SSL, EMAIL_USE_TLS = MAIL_SERVER.scheme == "smtps", MAIL_SERVER.scheme == "smtp+tls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SESSION_COOKIE_SECURE = ENVIRONMENT.https
CSRF_COOKIE_SECURE = ENVIRONMENT.https
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME = f"mc_session_{ENVIRONMENT.console_port}"
CSRF_COOKIE_NAME = f"mc_csrf_{ENVIRONMENT.console_port}"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True

# Lifecycle (seconds). Deadlines are per phase; past one the replica fails with a cause and is replaced with back-off.
PHASE_DEADLINE_SECONDS = {
    phase: ENVIRONMENT.lifecycle_seconds[f"PHASE_DEADLINE_{phase}_SECONDS"]
    for phase in ("REQUESTING_GPU", "DOWNLOADING_MODEL", "ENGINE_INITIALIZING")
}
PHASE_FLOOR_MIB_PER_SECOND = {
    "DOWNLOADING_MODEL": ENVIRONMENT.lifecycle_rates["DOWNLOAD_FLOOR_MIB_PER_SECOND"],
    "ENGINE_INITIALIZING": ENVIRONMENT.lifecycle_rates["INITIALIZE_FLOOR_MIB_PER_SECOND"],
}
UNHEALTHY_DEADLINE_SECONDS = ENVIRONMENT.lifecycle_seconds["UNHEALTHY_DEADLINE_SECONDS"]
RESTART_BACKOFF_SECONDS = (1, 4, 16)
FAILURES_BEFORE_FAILED = 3
FAILURE_WINDOW_SECONDS = 600
DRAIN_SECONDS = ENVIRONMENT.lifecycle_seconds["DRAIN_SECONDS"]
ROLLOUT_SETTLE_SECONDS = 3
AUTOSCALER_TARGET_SHARE = ENVIRONMENT.autoscaler["AUTOSCALER_TARGET_PERCENT"] / 100
AUTOSCALER_MEAN_SECONDS = ENVIRONMENT.autoscaler["AUTOSCALER_MEAN_SECONDS"]
AUTOSCALER_QUEUE_WAIT_SECONDS = ENVIRONMENT.autoscaler["AUTOSCALER_QUEUE_WAIT_SECONDS"]
AUTOSCALER_SAMPLE_SECONDS = ENVIRONMENT.autoscaler["AUTOSCALER_SAMPLE_SECONDS"]
SCALE_DOWN_DELAY_FLOOR_SECONDS = ENVIRONMENT.scale_down_delay_floor_seconds
LEASE_SECONDS = 30
CLUSTER_CALL_SECONDS = 10  # after which a cluster counts as hung
RECONCILE_BATCH = 200
USAGE_EVENT_DAYS = 35
ENDED_REPLICA_DAYS = ENVIRONMENT.retention_days["ENDED_REPLICA_DAYS"]
REPLICA_LOG_DAYS = ENVIRONMENT.retention_days["REPLICA_LOG_DAYS"]
EVENT_DAYS = ENVIRONMENT.retention_days["EVENT_DAYS"]
IDEMPOTENCY_RECORD_DAYS = ENVIRONMENT.retention_days["IDEMPOTENCY_RECORD_DAYS"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s %(message)s"}},
    "filters": {"without_traceback": {"()": "console.refusal_log.WithoutTraceback"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"django.request": {"filters": ["without_traceback"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
