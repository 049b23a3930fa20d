"""S3 and what speaks like it. boto3 lists, heads, finds credentials and presigns; bytes go elsewhere."""

from cached.sources.s3.options import S3Options
from cached.sources.s3.source import S3Source

__all__ = ["S3Options", "S3Source"]
