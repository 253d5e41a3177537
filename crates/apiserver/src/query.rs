//! The query of a URL, read where it stands.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A query as it was sent. Cheap to copy; values are decoded when they are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'r> {
    raw: &'r str,
}

// === impl Query ===

impl<'r> Query<'r> {
    pub fn new(raw: &'r str) -> Self {
        Self { raw }
    }

    pub fn raw(&self) -> &'r str {
        self.raw
    }

    /// Name and value of each parameter, decoded, in the order in which they were sent.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'r, str>, Cow<'r, str>)> + use<'r> {
        self.raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<Cow<'r, str>> {
        if self.raw.is_empty() {
            return None;
        }
        self.pairs().find_map(|(found, value)| (found == name).then_some(value))
    }

    /// Booleans as Kubernetes converts them: present is true, but for `false` and `0`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }
}

/// `+` is a space; bytes that are no UTF-8 become U+FFFD, as they do where Go prints them.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_values_and_reads_booleans() {
        let query = Query::new("labelSelector=a%3Db%2Cc+in+%28d%29&watch=true&x&limit=5&limit=6");
        assert_eq!(query.get("labelSelector").unwrap(), "a=b,c in (d)");
        assert_eq!(query.get("limit").unwrap(), "5");
        assert!(query.is_true("watch") && query.is_true("x") && !query.is_true("y"));
        for no in ["watch=false", "watch=0", "watch=False", ""] {
            assert!(!Query::new(no).is_true("watch"), "{no}");
        }
        assert_eq!(Query::new("").pairs().count(), 0);
    }
}
