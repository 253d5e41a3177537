//! Documents made from the APIs of clusters, held once by content, within a budget of bytes (law 1).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::request::Parts;
use http::{Response, StatusCode};
use parking_lot::Mutex;
use ring::digest::{SHA512, digest};

use crate::body::Body;

/// A document and its fingerprint.
pub(crate) struct Document {
    pub body: Bytes,
    /// SHA-512, upper-case hex, as Kubernetes makes ETags.
    pub hash: String,
    compressed: OnceLock<Bytes>,
}

/// Which document of a set of APIs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DocumentKey {
    /// `Surface::content_key`.
    pub content: [u8; 32],
    /// Name of the document among those of the content.
    pub name: String,
}

/// The documents in use. The least recently used go first.
pub(crate) struct Documents {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    documents: BTreeMap<DocumentKey, (u64, Arc<Document>)>,
    by_age: BTreeMap<u64, DocumentKey>,
    bytes: usize,
    uses: u64,
}

/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 512;

// === impl Document ===

impl Document {
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = fingerprint(&body);
        Self {
            body,
            hash,
            compressed: OnceLock::new(),
        }
    }

    /// A document that is known by another hash than its bytes'.
    pub fn named(body: impl Into<Bytes>, hash: &str) -> Self {
        Self {
            body: body.into(),
            hash: hash.to_owned(),
            compressed: OnceLock::new(),
        }
    }

    /// gzip, made by the first who wants it.
    pub fn compressed(&self, compress: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        self.compressed.get_or_init(|| compress(&self.body)).clone()
    }

    pub fn etag(&self) -> HeaderValue {
        HeaderValue::try_from(format!("\"{}\"", self.hash)).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The client has this version: 304.
    pub fn if_unchanged(&self, parts: &Parts) -> Option<Response<Body>> {
        let known = parts.headers.get(IF_NONE_MATCH)?.to_str().ok()?;
        let is_known = known.split(',').any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == self.hash
        });
        is_known.then(|| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().insert(ETAG, self.etag());
            response
        })
    }
}

pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    digest(&SHA512, bytes)
        .as_ref()
        .iter()
        .fold(String::with_capacity(128), |mut hex, byte| {
            let _ = write!(hex, "{byte:02X}");
            hex
        })
}

// === impl Documents ===

impl Documents {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// The document, made if nobody has asked for it lately.
    pub fn get<E>(
        &self,
        content: [u8; 32],
        name: &str,
        make: impl FnOnce() -> Result<Document, E>,
    ) -> Result<Arc<Document>, E> {
        match self.kept(content, name) {
            Some(document) => Ok(document),
            // Made unlocked. Of two made at once the later is kept.
            None => Ok(self.keep(content, name, make()?)),
        }
    }

    /// The document, if somebody has asked for it lately.
    pub fn kept(&self, content: [u8; 32], name: &str) -> Option<Arc<Document>> {
        let name = name.to_owned();
        self.kept.lock().touch(&DocumentKey { content, name })
    }

    pub fn keep(&self, content: [u8; 32], name: &str, document: Document) -> Arc<Document> {
        let (name, document) = (name.to_owned(), Arc::new(document));
        let key = DocumentKey { content, name };
        self.kept.lock().keep(key, document.clone(), self.bytes_max);
        document
    }

    /// Number of documents kept, and their bytes.
    #[cfg(test)]
    pub fn usage(&self) -> (usize, usize) {
        let kept = self.kept.lock();
        (kept.documents.len(), kept.bytes)
    }
}

// === impl Kept ===

impl Kept {
    fn touch(&mut self, key: &DocumentKey) -> Option<Arc<Document>> {
        let (age, document) = self.documents.get_mut(key)?;
        self.by_age.remove(age);
        self.uses += 1;
        *age = self.uses;
        let document = document.clone();
        self.by_age.insert(self.uses, key.clone());
        Some(document)
    }

    fn keep(&mut self, key: DocumentKey, document: Arc<Document>, bytes_max: usize) {
        self.forget(&key);
        self.bytes += cost(&document);
        self.uses += 1;
        self.by_age.insert(self.uses, key.clone());
        self.documents.insert(key, (self.uses, document));
        while self.bytes > bytes_max
            && let Some(oldest) = self.by_age.first_key_value().map(|(_, key)| key.clone())
        {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, key: &DocumentKey) {
        if let Some((age, document)) = self.documents.remove(key) {
            self.by_age.remove(&age);
            self.bytes -= cost(&document);
        }
    }
}

/// The compressed form is reckoned as a fifth.
fn cost(document: &Document) -> usize {
    document.body.len() + document.body.len() / 5 + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(documents: &Documents, content: u8, made: &mut u32) -> Arc<Document> {
        let make = || {
            *made += 1;
            Ok::<_, ()>(Document::new(vec![content; 1000]))
        };
        documents.get([content; 32], "api", make).unwrap()
    }

    #[test]
    fn law_1_equal_content_is_held_once() {
        let (documents, mut made) = (Documents::new(1 << 20), 0);
        for _ in 0..1000 {
            get(&documents, 1, &mut made);
        }
        assert_eq!((made, documents.usage().0), (1, 1));
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let (documents, mut made) = (Documents::new(2 * (1200 + ENTRY_BYTES)), 0);
        for content in [1, 2, 1, 3] {
            get(&documents, content, &mut made);
        }
        assert_eq!((made, documents.usage().0), (3, 2));
        get(&documents, 1, &mut made);
        assert_eq!(made, 3, "1 was used after 2");
        get(&documents, 2, &mut made);
        assert_eq!(made, 4);
        assert!(documents.usage().1 <= 2 * (1200 + ENTRY_BYTES));
    }

    #[test]
    fn an_unchanged_document_is_not_sent_again() {
        let document = Document::new("x");
        let parts = |tag: &str| {
            http::Request::builder()
                .header("if-none-match", tag)
                .body(())
                .unwrap()
                .into_parts()
                .0
        };
        assert_eq!(
            document
                .if_unchanged(&parts(&format!("\"{}\"", document.hash)))
                .unwrap()
                .status(),
            304
        );
        assert!(document.if_unchanged(&parts("\"other\"")).is_none());
        assert_eq!(document.hash.len(), 128);
    }
}
