"""What boto3 sees of a bucket: argument `plain` or `versions`."""

import datetime
import hashlib
import os
import sys
import urllib.error
import urllib.request

import boto3
import botocore.auth
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, bucket = os.environ["AWS_ENDPOINT_URL"], os.environ["BUCKET"]


def client(**more):
    return boto3.client("s3", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 3}), **more)


s3 = client()


def refused(call, code, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code or found == str(code), f"{found} in the place of {code}"
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    raise AssertionError(f"{call} with {arguments} was done")


def put(key, body=b"", **more):
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more)


def get(key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def keys(**more):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, **more)
    return [one["Key"] for page in pages for one in page.get("Contents", [])]


def empty():
    for key in keys():
        s3.delete_object(Bucket=bucket, Key=key)


def objects():
    for size in [0, 1, 16383, 16384, 16385, 3_000_000]:
        body = bytes(at * 7 % 251 for at in range(size))
        made = put("sized", body, Metadata={"colour": "blue"}, ContentType="text/x-test", CacheControl="max-age=3")
        assert made["ETag"] == f'"{hashlib.md5(body).hexdigest()}"', made
        found = s3.get_object(Bucket=bucket, Key="sized")
        assert found["Body"].read() == body and found["ContentLength"] == size
        assert found["Metadata"] == {"colour": "blue"} and found["ContentType"] == "text/x-test"
        assert found["CacheControl"] == "max-age=3"
        if size > 20:
            assert get("sized", Range="bytes=10-19") == body[10:20]
            assert get("sized", Range="bytes=-5") == body[-5:]
            assert get("sized", Range="bytes=5-") == body[5:]
    assert refused(s3.get_object, "InvalidRange", Bucket=bucket, Key="sized", Range="bytes=9000000-") == 416
    assert refused(s3.get_object, "NoSuchKey", Bucket=bucket, Key="none") == 404
    assert refused(s3.head_object, "404", Bucket=bucket, Key="none") == 404
    assert refused(s3.put_object, "KeyTooLongError", Bucket=bucket, Key="k" * 1025) == 400
    for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]:
        try:
            put("summed", b"abc", ChecksumAlgorithm=algorithm)
        except botocore.exceptions.MissingDependencyException:
            pass
    refused(s3.put_object, "BadDigest", Bucket=bucket, Key="none", Body=b"abc", ChecksumSHA256="A" * 43 + "=")
    refused(s3.put_object, "BadDigest", Bucket=bucket, Key="none", Body=b"abc", ContentMD5="A" * 22 + "==")
    refused(s3.put_object, "MetadataTooLarge", Bucket=bucket, Key="none", Metadata={"m": "x" * 2100})
    # Conditions.
    tag = put("conditional", b"1", IfNoneMatch="*")["ETag"]
    assert refused(s3.put_object, "PreconditionFailed", Bucket=bucket, Key="conditional", IfNoneMatch="*") == 412
    put("conditional", b"2", IfMatch=tag)
    assert refused(s3.put_object, "PreconditionFailed", Bucket=bucket, Key="conditional", IfMatch=tag) == 412
    assert refused(s3.put_object, "NoSuchKey", Bucket=bucket, Key="none", IfMatch=tag) == 404
    new = s3.head_object(Bucket=bucket, Key="conditional")["ETag"]
    assert refused(s3.get_object, "304", Bucket=bucket, Key="conditional", IfNoneMatch=new) == 304
    assert refused(s3.get_object, "PreconditionFailed", Bucket=bucket, Key="conditional", IfMatch=tag) == 412
    # Names that would be paths.
    odd = ["../../etc/passwd", "..", "/", "//", "a/../b", "a", "a/b", "a/", "ü€😀", "x\u0001y", "sp ace+plus&%2F", "k" * 1024]
    for key in odd:
        put(key, key.encode())
    for key in odd:
        assert get(key) == key.encode(), key
    assert set(odd) <= set(keys()), keys()
    # Copies.
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "sized"})
    assert s3.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"colour": "blue"}
    s3.copy_object(
        Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "copy"}, MetadataDirective="REPLACE", Metadata={"a": "b"}
    )
    assert s3.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"a": "b"} and len(get("copy")) == 3_000_000
    refused(s3.copy_object, "NoSuchBucket", Bucket=bucket, Key="c", CopySource={"Bucket": "another-bucket", "Key": "sized"})
    # Many at once; one that isn't there is no error.
    # XML has no way to write this one.
    odd.remove("x\u0001y")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*odd, "none"]]})
    assert len(answer["Deleted"]) == len(odd) + 1 and not answer.get("Errors")


def listings():
    empty()
    for key in ["a", "a/1", "a/2", "a0", "b/1/x", "b/2", "c"]:
        put(key)
    assert keys(PaginationConfig={"PageSize": 2}) == ["a", "a/1", "a/2", "a0", "b/1/x", "b/2", "c"]
    assert keys(StartAfter="a/1") == ["a/2", "a0", "b/1/x", "b/2", "c"]
    found, token = [], {}
    while True:
        page = s3.list_objects_v2(Bucket=bucket, Delimiter="/", MaxKeys=1, **token)
        found += [one["Key"] for one in page.get("Contents", [])] + [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == ["a", "a/", "a0", "b/", "c"], found
    found, marker = [], ""
    while True:
        page = s3.list_objects(Bucket=bucket, Prefix="b/", Delimiter="/", MaxKeys=1, Marker=marker)
        found += [one["Key"] for one in page.get("Contents", [])] + [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    assert found == ["b/1/", "b/2"], found
    refused(s3.list_objects_v2, "InvalidArgument", Bucket=bucket, ContinuationToken="%%")
    empty()
    assert keys() == []


def uploads():
    part = bytes(5 << 20)
    begun = s3.create_multipart_upload(Bucket=bucket, Key="large", Metadata={"m": "1"})["UploadId"]
    tags = [
        s3.upload_part(Bucket=bucket, Key="large", UploadId=begun, PartNumber=number, Body=body)["ETag"]
        for number, body in [(1, part), (3, b"replaced"), (3, b"end"), (7, b"unused")]
    ]
    assert keys() == [], "nothing of it is seen before it is complete"
    listed = s3.list_parts(Bucket=bucket, Key="large", UploadId=begun)["Parts"]
    assert [one["PartNumber"] for one in listed] == [1, 3, 7]
    assert [one["Key"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["large"]

    def complete(*parts):
        return {"Bucket": bucket, "Key": "large", "UploadId": begun, "MultipartUpload": {"Parts": list(parts)}}

    first, second = {"PartNumber": 1, "ETag": tags[0]}, {"PartNumber": 3, "ETag": tags[2]}
    refused(s3.complete_multipart_upload, "InvalidPart", **complete(first, {"PartNumber": 3, "ETag": tags[1]}))
    refused(s3.complete_multipart_upload, "InvalidPartOrder", **complete(second, first))
    refused(s3.complete_multipart_upload, "EntityTooSmall", **complete(second, {"PartNumber": 7, "ETag": tags[3]}))
    s3.complete_multipart_upload(**complete(first, second))
    found = s3.get_object(Bucket=bucket, Key="large")
    assert found["Body"].read() == part + b"end" and found["ETag"].endswith('-2"') and found["Metadata"] == {"m": "1"}
    assert get("large", Range=f"bytes={(5 << 20) - 1}-{5 << 20}") == b"\0e"
    refused(s3.upload_part, "NoSuchUpload", Bucket=bucket, Key="large", UploadId=begun, PartNumber=1, Body=b"")
    begun = s3.create_multipart_upload(Bucket=bucket, Key="copied")["UploadId"]
    source = {"Bucket": bucket, "Key": "large"}
    copied = s3.upload_part_copy(
        Bucket=bucket, Key="copied", UploadId=begun, PartNumber=1, CopySource=source, CopySourceRange=f"bytes={5 << 20}-{(5 << 20) + 2}"
    )["CopyPartResult"]["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": copied}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="copied", UploadId=begun, MultipartUpload=parts)
    assert get("copied") == b"end"
    begun = s3.create_multipart_upload(Bucket=bucket, Key="never")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="never", UploadId=begun, PartNumber=1, Body=part)
    s3.abort_multipart_upload(Bucket=bucket, Key="never", UploadId=begun)
    refused(s3.list_parts, "NoSuchUpload", Bucket=bucket, Key="never", UploadId=begun)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    empty()


def full():
    """A bucket that is full says so at once, and what was refused is neither seen nor counted."""
    for _ in range(3):
        assert refused(s3.put_object, "QuotaExceeded", Bucket=bucket, Key="too-large", Body=bytes(65 << 20)) == 403
    assert keys() == []


def strangers():
    """Who may do what."""
    put("mine", b"1")
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == [bucket]
    for other in ["another-bucket", bucket[:-1]]:
        refused(s3.list_objects_v2, "NoSuchBucket", Bucket=other)
        refused(s3.put_object, "NoSuchBucket", Bucket=other, Key="k")
        refused(s3.create_bucket, "AccessDenied", Bucket=other)
    refused(s3.create_bucket, "BucketAlreadyOwnedByYou", Bucket=bucket)
    refused(s3.delete_bucket, "AccessDenied", Bucket=bucket)
    refused(client(aws_access_key_id="FHNOBODY", aws_secret_access_key="x").list_buckets, "InvalidAccessKeyId")
    refused(client(aws_secret_access_key="x", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"]).list_buckets, "SignatureDoesNotMatch")

    def status(url, **more):
        try:
            return urllib.request.urlopen(urllib.request.Request(url, **more)).status
        except urllib.error.HTTPError as error:
            return error.code

    plain = f"{endpoint}/{bucket}/mine"
    assert status(plain) == 403 and status(plain, method="DELETE") == 403 and status(f"{endpoint}/") == 403
    assert status(plain, headers={"Authorization": "AWS key:signature"}) == 400
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "mine"}, ExpiresIn=60)
    assert status(url) == 200 and status(url, method="DELETE") == 403
    assert status(url.replace("/mine", "/other")) == 403
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "put"}, ExpiresIn=60)
    assert status(url, data=b"by URL", method="PUT") == 200 and get("put") == b"by URL"
    # A clock that is an hour wrong, and a URL whose hour is over.
    real = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *any, **way: real(*any, **way) - datetime.timedelta(hours=1)
    refused(s3.list_objects_v2, "RequestTimeTooSkewed", Bucket=bucket)
    old = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "mine"}, ExpiresIn=60)
    botocore.auth.get_current_datetime = real
    assert status(old) == 403
    empty()


def versions():
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    first, second = put("k", b"1")["VersionId"], put("k", b"2")["VersionId"]
    assert get("k") == b"2" and get("k", VersionId=first) == b"1"
    put("k/x", b"3")
    mark = s3.delete_object(Bucket=bucket, Key="k")
    assert mark["DeleteMarker"] and refused(s3.get_object, "NoSuchKey", Bucket=bucket, Key="k") == 404
    assert refused(s3.get_object, "MethodNotAllowed", Bucket=bucket, Key="k", VersionId=mark["VersionId"]) == 405
    assert keys() == ["k/x"] and get("k", VersionId=second) == b"2"
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
    found = [(one["Key"], one["VersionId"], one["IsLatest"]) for page in pages for one in page.get("Versions", []) + page.get("DeleteMarkers", [])]
    assert [one[0] for one in found] == ["k", "k", "k", "k/x"] and [one[2] for one in found] == [True, False, False, True], found
    s3.delete_object(Bucket=bucket, Key="k", VersionId=mark["VersionId"])
    assert get("k") == b"2"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=second)
    assert get("k") == b"1"
    refused(s3.get_object, "NoSuchVersion", Bucket=bucket, Key="k", VersionId=second)
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])


if sys.argv[1] == "versions":
    versions()
else:
    for test in [objects, listings, uploads, full, strangers]:
        test()
print("done")
