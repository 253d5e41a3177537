//! The data files, part of the binary.

use serde::de::DeserializeOwned;

const FILES: [(&str, &str); 10] = [
    ("apiexports.json", include_str!("../data/apiexports.json")),
    (
        "apiresourceschemas.json",
        include_str!("../data/apiresourceschemas.json"),
    ),
    (
        "builtin-definitions.json",
        include_str!("../data/builtin-definitions.json"),
    ),
    ("builtin-resources.json", include_str!("../data/builtin-resources.json")),
    ("descriptions.json", include_str!("../data/descriptions.json")),
    ("policy.json", include_str!("../data/policy.json")),
    ("root-rbac.json", include_str!("../data/root-rbac.json")),
    (
        "storage-version-hashes.json",
        include_str!("../data/storage-version-hashes.json"),
    ),
    ("system-crds.json", include_str!("../data/system-crds.json")),
    ("workspacetypes.json", include_str!("../data/workspacetypes.json")),
];

/// Reads a data file.
///
/// # Panics
/// If there is none of the name or it has another shape, which the first test that reads it shows.
pub(crate) fn parse<T: DeserializeOwned>(name: &str) -> T {
    let (_, text) = FILES
        .iter()
        .find(|(file, _)| *file == name)
        .expect("a data file of this crate");
    serde_json::from_str(text).expect("data files are well-formed")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn has_description(value: &Value) -> bool {
        match value {
            Value::Object(members) => members
                .iter()
                .any(|(key, v)| (key == "description" && v.is_string()) || has_description(v)),
            Value::Array(items) => items.iter().any(has_description),
            _ => false,
        }
    }

    #[test]
    fn machine_made_files_have_no_descriptions() {
        for (name, _) in FILES.iter().filter(|(name, _)| *name != "descriptions.json") {
            assert!(!has_description(&parse(name)), "{name}");
        }
    }
}
