"""From the errors of boto3 to those of cached: the one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from cached.core.errors import (
    CachedError,
    Denied,
    InvalidRequest,
    NotConfigured,
    NotFound,
    SourceUnavailable,
    Unauthenticated,
)
from cached.sources.s3.options import S3Options
from cached.sources.s3.uri import S3Uri

_EXPIRED: Final = "the session's credentials have expired; renew them"
_UNAUTHENTICATED: Final = {
    "InvalidAccessKeyId": "check the access key id",
    "SignatureDoesNotMatch": "check the secret access key",
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "check the session token",
    "RequestTimeTooSkewed": "set this node's clock",
}
_NO_OBJECT: Final = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404"})
_ELSEWHERE: Final = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)
_MALFORMED: Final = frozenset({"InvalidBucketName", "InvalidURI", "KeyTooLongError", "InvalidArgument"})
_LATER: Final = frozenset(
    {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"}
)


@contextmanager
def translated(uri: S3Uri, options: S3Options) -> Iterator[None]:
    """Raise what boto3 raises in the block as an error that names `uri`.

    The original is dropped, chain and all, since its text may quote a request. The block is for calls of
    boto3 alone: a bare ValueError, OSError or RuntimeError in it is taken for a word about configuration.
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    try:
        yield
    except boto.ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise refusal(error.operation_name, status, error.response.get("Error", {}), uri, options) from None
    except (boto.ParamValidationError, boto.InvalidHostLabelError):
        raise InvalidRequest(f"{uri} is nothing that S3 can be asked for") from None
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.MetadataRetrievalError,
        boto.NoAuthTokenError,
        boto.TokenRetrievalError,
        boto.RefreshWithMFAUnsupportedError,
        boto.SSOError,
        boto.LoginError,
        RuntimeError,  # what boto3 has for credentials that come expired
    ) as error:
        raise Unauthenticated(
            f"no valid credentials to read {uri} ({type(error).__name__})",
            hint="give the daemon AWS_* variables, a profile or a role, or set sources.s3.anonymous",
        ) from None
    except (ResponseParserError, UnicodeError) as error:
        raise SourceUnavailable(
            f"the answer for {uri} cannot be read ({type(error).__name__})",
            hint=f"is {_at(options)} an S3 server?",
        ) from None
    except (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError) as error:
        raise SourceUnavailable(
            f"no good answer for {uri} ({type(error).__name__})", hint=f"check the network and {_at(options)}"
        ) from None
    except (boto.BotoCoreError, OSError, ValueError) as error:
        raise NotConfigured(
            f"S3 is not set up for {uri} ({type(error).__name__})",
            hint="check sources.s3, the AWS configuration files, and the token and CA files that they name",
        ) from None


def refusal(
    operation: str, status: int, said: Mapping[str, Any], uri: S3Uri, options: S3Options
) -> CachedError:
    """What an HTTP answer other than success means; `said` is its Error element, poor after a HEAD."""
    code = str(said.get("Code") or status)
    answer = f"{operation}: {code}"
    if operation.startswith(("AssumeRole", "GetRoleCredentials")):
        return Unauthenticated(
            f"the token service gives no credentials to read {uri} ({answer})",
            hint="check the role, its trust policy and the token file",
        )
    if code == "NoSuchBucket":
        return NotFound(f"no bucket {uri.bucket} (for {uri})", hint=f"check its name, and {_at(options)}")
    if code in _NO_OBJECT:
        return NotFound(f"no object {uri}")
    if code in _UNAUTHENTICATED:
        return Unauthenticated(
            f"S3 does not accept the credentials for {uri} ({answer})", hint=_UNAUTHENTICATED[code]
        )
    if code in _ELSEWHERE or 300 <= status < 400:
        return NotConfigured(
            f"bucket {uri.bucket} is in another region or at another endpoint ({answer})",
            hint="set sources.s3.buckets.<bucket>.region",
        )
    if code in _MALFORMED:
        return InvalidRequest(f"{uri} is nothing that S3 can be asked for ({answer})")
    if code in _LATER or status == 429 or status >= 500:
        return SourceUnavailable(
            f"S3 cannot serve {uri} now ({answer})", hint=f"try again later; is {_at(options)} well?"
        )
    return Denied(
        f"S3 does not let this node read {uri} ({answer})",
        hint="grant s3:ListBucket and s3:GetObject; see also requester_pays and the object's encryption",
    )


def _at(options: S3Options) -> str:
    return f"the endpoint {options.endpoint}" if options.endpoint else "the endpoint"
