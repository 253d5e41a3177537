//! Names and label values that kcp derives by hashing (C.3, A.6, D.7, E.1). Other programs compute the same ones, so the
//! results are wire format; the test vectors are kcp's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigUint;
use serde::Serialize;
use sha2::{Digest, Sha224, Sha256};

use crate::keys::label;

/// Longest label key that is made here, prefix included (A.6).
const LABEL_KEY_MAX: usize = 63;
/// Length of the random name of a logical cluster.
const CLUSTER_NAME_LEN: usize = 16;
/// Length of the hash of a shard's name.
const SHARD_HASH_LEN: usize = 8;
/// What remains of an export's name in the name of a default binding.
const BINDING_NAME_PREFIX_MAX: usize = 247;
/// What remains of the hash there.
const BINDING_NAME_HASH_LEN: usize = 5;

const BASE62: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The label value of an APIBinding that is itself selected through its export's label, claims or not (C.3). It is no hash:
/// kcp encodes 28 fixed bytes.
pub const REFLEXIVE_CLAIM_VALUE: &str = "LstvmbbzVDDOn90ZbhzSQO5U3DMCf88h1pZ";

/// A label, as key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub key: String,
    pub value: String,
}

/// What a claim's label value is made from; verbs and selectors do not count.
#[derive(Serialize)]
struct ClaimIdentity<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    resource: &'a str,
    verbs: Option<()>,
    #[serde(rename = "identityHash", skip_serializing_if = "str::is_empty")]
    identity_hash: &'a str,
}

/// The name of a new logical cluster, from 32 random bytes: 16 characters of `[a-z0-9]`.
pub fn cluster_name(random: &[u8; 32]) -> String {
    let mut name = base36_padded(&Sha224::digest(random));
    name.truncate(CLUSTER_NAME_LEN);
    name
}

/// The name of a user's home cluster: the same everywhere, without a look-up (D.10).
pub fn home_cluster_name(user: &str) -> String {
    base36_padded(&Sha224::digest(user)[..8])
}

/// Value of the annotation [`crate::keys::annotation::SHARD_HASH`].
pub fn shard_hash(shard_name: &str) -> String {
    let mut hash = base36_padded(&Sha224::digest(shard_name));
    hash.truncate(SHARD_HASH_LEN);
    hash
}

/// Value of the label [`label::EXPORT`] on bindings, by the *name* of the export's cluster.
pub fn export_label(export_cluster: &str, export_name: &str) -> String {
    base62(&Sha224::digest(format!("{export_cluster}:{export_name}")))
}

/// Key of the label that an export's claims put on objects.
pub fn claim_label_key(export_cluster: &str, export_name: &str) -> String {
    format!("{}{}", label::CLAIM_PREFIX, export_label(export_cluster, export_name))
}

/// Value of the label of [`claim_label_key`]. `group` and `identity_hash` may be empty.
pub fn claim_label_value(group: &str, resource: &str, identity_hash: &str) -> String {
    let claim = ClaimIdentity {
        group,
        resource,
        verbs: None,
        identity_hash,
    };
    // Strings and a null always serialize; Go's field order is that of the struct.
    let json = serde_json::to_vec(&claim).unwrap_or_default();
    base62(&Sha224::digest(json))
}

/// Label of a LogicalCluster that still waits for `initializer` (`<cluster name>:<type name>` or `system:…`).
pub fn initializer_label(initializer: &str) -> Label {
    lifecycle_label(label::INITIALIZER_PREFIX, initializer)
}

/// Label of a LogicalCluster that still waits for `terminator`.
pub fn terminator_label(terminator: &str) -> Label {
    lifecycle_label(label::TERMINATOR_PREFIX, terminator)
}

/// `status.identityHash` of an export: from the bytes of the secret's `key` as stored, i.e. of the encoded text.
pub fn identity_hash(key: &[u8]) -> String {
    hex(&Sha256::digest(key))
}

/// The name of the APIBinding that initialization makes for a default binding of a type (D.7). `cluster` is the name of the
/// new workspace's logical cluster.
pub fn default_binding_name(cluster: &str, export_path: &str, export_name: &str) -> String {
    let digest = Sha224::digest(format!("{cluster}|{export_path}|{export_name}"));
    let mut hash = base62(&digest).to_ascii_lowercase();
    hash.truncate(BINDING_NAME_HASH_LEN);
    let prefix: String = export_name.chars().take(BINDING_NAME_PREFIX_MAX).collect();
    format!("{prefix}-{hash}")
}

/// `storageVersionHash` of discovery, which clients may only compare (B.3). `cluster` is where the definition lives, empty for
/// what is built in, so that local definitions of two clusters differ. kcp's own resources have recorded ones:
/// [`crate::system::storage_version_hash`].
pub fn storage_version_hash(cluster: &str, group: &str, version: &str, kind: &str) -> String {
    STANDARD.encode(&Sha256::digest(format!("{cluster}/{group}/{version}/{kind}"))[..8])
}

fn lifecycle_label(prefix: &str, name: &str) -> Label {
    let value = hex(&Sha224::digest(name));
    let suffix = &value[..LABEL_KEY_MAX - prefix.len()];
    Label {
        key: format!("{prefix}{suffix}"),
        value,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Big-endian integer in base 62 (digits, lower case, upper case), no padding: Go's `big.Int.Text(62)`.
fn base62(bytes: &[u8]) -> String {
    let digits = BigUint::from_bytes_be(bytes).to_radix_be(62);
    digits
        .iter()
        .map(|digit| char::from(BASE62[usize::from(*digit)]))
        .collect()
}

/// Big-endian integer in base 36, one `0` in front for each leading zero *byte*.
fn base36_padded(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    format!(
        "{}{}",
        "0".repeat(zeros),
        BigUint::from_bytes_be(bytes).to_str_radix(36)
    )
}

#[cfg(test)]
mod tests;
