//! Reading paths, queries and JSON bodies, with a problem for what can't be read.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The captured segments of the path, percent-decoded one by one: an encoded `/` stays inside its segment.
#[derive(Debug)]
pub struct UrlPath<T>(pub T);

/// The query string. Types that are read from it refuse parameters they don't know: a misspelt filter must not answer
/// with everything.
#[derive(Debug)]
pub struct UrlQuery<T>(pub T);

/// A body of JSON, whatever its content type says.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for UrlPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Path::from_request_parts(parts, state).await?.0))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for UrlQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Query::from_request_parts(parts, state).await?.0))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await?;
        let read = serde_json::from_slice(&body);
        Ok(Self(read.map_err(|error| Problem::bad_request(format!("the body: {error}")))?))
    }
}
