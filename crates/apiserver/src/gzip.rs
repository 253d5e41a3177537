//! Compression of large bodies.

use std::io::Write as _;

use bytes::Bytes;
use env::Spawn;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, VARY};

use crate::body::Body;

/// Kubernetes' bound: below it, compressing costs more than it saves.
const COMPRESSED_LEN_MIN: u64 = 128 * 1024;

/// Compressing this much takes longer than a request should hold up others on its thread.
const INLINE_LEN_MAX: usize = 256 * 1024;

/// Whether the client takes gzip.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let Some(accepted) = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    accepted.split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = quality
            .trim()
            .strip_prefix("q=")
            .is_some_and(|q| q.parse() == Ok(0.0_f32));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Compresses a body of known, large size; level 1, as Kubernetes does.
pub(crate) async fn compress(body: Body, headers: &mut HeaderMap, spawn: &Spawn) -> Body {
    if body.len().is_none_or(|len| len < COMPRESSED_LEN_MIN) {
        return body;
    }
    let whole = match body.into_whole() {
        Ok(whole) => whole,
        Err(body) => return body,
    };
    let compressed = match whole.len() {
        0..=INLINE_LEN_MAX => gzip(&whole),
        _ => spawn.blocking(move || gzip(&whole)).await,
    };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    Body::full(compressed)
}

pub(crate) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::new(1));
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn compresses_what_is_large_and_nothing_else() {
        let spawn = Spawn::real();
        let mut headers = HeaderMap::new();
        let small = compress(Body::full(vec![b'x'; 1000]), &mut headers, &spawn).await;
        assert_eq!((small.len(), headers.len()), (Some(1000), 0));
        for len in [200_000, 2_000_000] {
            let mut headers = HeaderMap::new();
            let large = compress(Body::full(vec![b'x'; len]), &mut headers, &spawn).await;
            assert_eq!(headers["content-encoding"], "gzip");
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*large.into_whole().ok().unwrap())
                .read_to_end(&mut plain)
                .unwrap();
            assert_eq!(plain.len(), len);
        }
    }

    #[test]
    fn a_client_may_refuse() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("br", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(is_accepted(&headers), expected, "{value}");
        }
    }
}
