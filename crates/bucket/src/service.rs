//! The protocol: requests of S3 as calls of the store.

mod convert;
mod listing;
mod objects;
mod parts;

use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, BucketVersioningStatus,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput, DeleteBucketOutput,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectInput, GetObjectOutput,
    HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
    ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput,
    PostObjectInput, PostObjectOutput, PutObjectInput, PutObjectOutput, UploadPartCopyInput, UploadPartCopyOutput,
    UploadPartInput, UploadPartOutput,
};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::chunks::Chunks;
use crate::error::BucketError;
use crate::store::Store;

/// The largest XML of a request, in bytes: that of 10,000 parts.
const LARGEST_XML: usize = 4 << 20;
/// How long a client may take to send a request's header.
const HEADER: std::time::Duration = std::time::Duration::from_secs(30);
/// How far a client's clock may be wrong, in seconds, as in S3.
const SKEW: u32 = 900;

/// How a bucket is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The bucket's name.
    pub name: String,
    /// What clients are to say.
    pub region: String,
    /// Who they say they are.
    pub access_key_id: String,
    /// What they sign with.
    pub secret_access_key: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Access").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The server of one bucket. Its copies are the same server.
#[derive(Clone)]
pub struct Server {
    service: S3Service,
    access: Arc<RwLock<Access>>,
    store: Arc<Store>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").finish_non_exhaustive()
    }
}

/// What answers requests that are allowed.
#[derive(Clone)]
pub(crate) struct Service {
    store: Arc<Store>,
    access: Arc<RwLock<Access>>,
}

/// Knows the one key.
struct Keys(Arc<RwLock<Access>>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let access = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if access.access_key_id == access_key {
            Ok(SecretKey::from(access.secret_access_key.as_str()))
        } else {
            Err(S3ErrorCode::InvalidAccessKeyId.into())
        }
    }
}

impl Server {
    /// A server for what is in a store.
    pub fn new(store: Arc<Store>, access: Access) -> Self {
        let access = Arc::new(RwLock::new(access));
        let mut config = S3Config::default();
        config.xml_max_body_size = LARGEST_XML;
        config.presigned_url_max_skew_time_secs = SKEW;
        // Forms aren't served: no more of them is read than their fields.
        config.form_max_field_size = 64 << 10;
        config.form_max_fields_size = 256 << 10;
        config.post_object_max_file_size = 0;
        let mut builder = S3ServiceBuilder::new(Service { store: Arc::clone(&store), access: Arc::clone(&access) });
        builder.set_auth(Keys(Arc::clone(&access)));
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Self { service: builder.build(), access, store }
    }

    /// Whose server it is.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether it is the same one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
    }

    /// Changes how it is reached. Requests that have begun are not affected.
    pub fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = access;
    }

    /// Serves one connection until it is closed.
    ///
    /// # Errors
    /// The client breaks the protocol or the connection.
    pub async fn serve(&self, connection: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<(), hyper::Error> {
        let answer = service_fn(|request: Request<Incoming>| async { self.answer(request).await });
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER)
            .serve_connection(TokioIo::new(connection), answer)
            .await
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, s3s::HttpError> {
        if is_version_2(request.headers(), request.uri().query()) {
            let error =
                S3Error::with_message(S3ErrorCode::InvalidRequest, "requests have to be signed with AWS4-HMAC-SHA256");
            let answer = error.to_http_response();
            return answer.map_err(|error| s3s::HttpError::new(Box::new(error)));
        }
        let chunked =
            request.headers().get("x-amz-content-sha256").is_some_and(|sum| sum.as_bytes().starts_with(b"STREAMING-"));
        let body = |body: Incoming| if chunked { Body::http_body(Chunks::new(body)) } else { Body::from(body) };
        self.service.call(request.map(body)).await
    }
}

/// Whether a request is signed as it was before 2012, by SHA-1 and without the body.
fn is_version_2(headers: &HeaderMap, query: Option<&str>) -> bool {
    let header = headers.get(http::header::AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"AWS "));
    header || query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("AWSAccessKeyId")))
}

impl Service {
    fn access(&self) -> Access {
        self.access.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every other bucket is one that isn't there, whoever has it.
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.access().name == bucket { Ok(()) } else { Err(S3ErrorCode::NoSuchBucket.into()) }
    }

    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Store>) -> Result<T, BucketError> + Send + 'static,
    ) -> Result<T, BucketError> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(&store)).await.unwrap_or(Err(BucketError::Closed))
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Service {
    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        let Access { name, region, .. } = self.access();
        let bucket = Bucket { bucket_region: Some(region), name: Some(name), creation_date: None };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..Default::default() }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        // What clients do before they write, whether it is there or not.
        match self.check_bucket(&request.input.bucket) {
            Ok(()) => Err(S3ErrorCode::BucketAlreadyOwnedByYou.into()),
            Err(_) => Err(S3ErrorCode::AccessDenied.into()),
        }
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
        self.check_bucket(&request.input.bucket)?;
        Err(S3Error::with_message(S3ErrorCode::AccessDenied, "the app's definition says which buckets there are"))
    }

    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> Answer<GetBucketLocationOutput> {
        self.check_bucket(&request.input.bucket)?;
        let region = Some(self.access().region.into());
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: region }))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> Answer<GetBucketVersioningOutput> {
        self.check_bucket(&request.input.bucket)?;
        let status = self.store.keeps_versions().then(|| BucketVersioningStatus::ENABLED.to_owned().into());
        Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        self.get(request.input).await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        self.head(request.input).await
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        self.put(request).await
    }

    async fn post_object(&self, _: S3Request<PostObjectInput>) -> Answer<PostObjectOutput> {
        Err(S3Error::with_message(S3ErrorCode::NotImplemented, "uploads by forms are not served"))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        self.copy(request.input).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.delete(request.input).await
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        self.delete_many(request.input).await
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        self.list(request.input).await
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        self.list_v2(request.input).await
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> Answer<ListObjectVersionsOutput> {
        self.list_versions(request.input).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        self.begin(request.input).await
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.part(request).await
    }

    async fn upload_part_copy(&self, request: S3Request<UploadPartCopyInput>) -> Answer<UploadPartCopyOutput> {
        self.part_copy(request.input).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        self.complete(request.input).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        self.abort(request.input).await
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        self.parts(request.input).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        self.uploads(request.input).await
    }
}
