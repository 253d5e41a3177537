use super::*;

const RSA: [&[u8]; 2] = [
    include_bytes!("../testdata/rsa-pkcs1.pem"),
    include_bytes!("../testdata/rsa-pkcs8.pem"),
];
const EC: [&[u8]; 2] = [
    include_bytes!("../testdata/ec-sec1.pem"),
    include_bytes!("../testdata/ec-pkcs8.pem"),
];

fn signs_and_verifies(pem: &[u8], public: &[PublicKey]) {
    let key = SigningKey::from_pem(pem).unwrap();
    let signature = key.sign(b"message").unwrap();
    assert_eq!(public, std::slice::from_ref(key.public()));
    assert!(public[0].verifies(b"message", &signature));
    assert!(!public[0].verifies(b"messagf", &signature));
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    let rsa = PublicKey::all_from_pem(include_bytes!("../testdata/rsa-public.pem")).unwrap();
    RSA.iter().for_each(|pem| signs_and_verifies(pem, &rsa));
    let ec = PublicKey::all_from_pem(include_bytes!("../testdata/ec-public.pem")).unwrap();
    EC.iter().for_each(|pem| signs_and_verifies(pem, &ec));
    assert_eq!(
        (rsa[0].algorithm(), ec[0].algorithm()),
        (Algorithm::Rs256, Algorithm::Es256)
    );
    let p384: &[u8] = include_bytes!("../testdata/ec384-sec1.pem");
    signs_and_verifies(p384, &PublicKey::all_from_pem(p384).unwrap());
}

/// `openssl … -pubout -outform DER | sha256 | base64url`, which is what Kubernetes does.
#[test]
fn ids_are_those_of_kubernetes() {
    let id = |pem: &[u8]| PublicKey::all_from_pem(pem).unwrap()[0].id().to_owned();
    assert_eq!(id(RSA[0]), "CDmDrBOdrDicuV7Wg5V20naqAE6OJVNJkR-8sqIL3ww");
    assert_eq!(id(EC[0]), "tjNGmzftRddmsRJNpFclcP4LRUh-DbGcREsfhzn7IA4");
}

#[test]
fn a_file_may_have_several_keys() {
    let both = [RSA[0], b"\n", EC[1]].concat();
    assert_eq!(PublicKey::all_from_pem(&both).unwrap().len(), 2);
    assert!(matches!(PublicKey::all_from_pem(b""), Err(KeyError::NoKey)));
    let public: &[u8] = include_bytes!("../testdata/ec-public.pem");
    assert!(matches!(SigningKey::from_pem(public), Err(KeyError::NoPrivateKey)));
}

#[test]
fn a_new_key_can_be_kept() {
    let (key, pem) = SigningKey::generate().unwrap();
    let read = SigningKey::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(read.public(), key.public());
}

#[test]
fn web_keys_have_their_numbers() {
    let jwk = |pem: &[u8]| PublicKey::all_from_pem(pem).unwrap()[0].to_jwk();
    let rsa = jwk(RSA[0]);
    assert_eq!((rsa["kty"].as_str(), rsa["alg"].as_str()), (Some("RSA"), Some("RS256")));
    assert_eq!(rsa["e"], "AQAB");
    assert_eq!(rsa["n"].as_str().unwrap().len(), 342, "256 bytes, no leading zero");
    let ec = jwk(EC[0]);
    assert_eq!((ec["kty"].as_str(), ec["crv"].as_str()), (Some("EC"), Some("P-256")));
    assert_eq!(ec["x"].as_str().unwrap().len(), 43);
}
