//! Names and ids made of random bytes, which come from the caller.

/// What generated names end in: no vowels (no words), nothing easily mistaken.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
const BASE_LENGTH_MAX: usize = 63 - SUFFIX_LENGTH;

/// A version 4 UUID, as `metadata.uid` is written.
pub fn uid(random: [u8; 16]) -> String {
    let mut bytes = random;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut out = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    out
}

/// A name of at most 63 bytes: the base (`generateName`), cut if need be, and five random characters.
pub fn generate_name(base: &str, random: [u8; 5]) -> String {
    let mut end = base.len().min(BASE_LENGTH_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base.get(..end).unwrap_or_default().to_owned();
    name.push_str(&suffix(&random));
    name
}

/// One character a byte; letters are picked by remainder, so nearly evenly.
pub fn suffix(random: &[u8]) -> String {
    random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_version_4() {
        assert_eq!(uid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn generated_names_fit_a_label() {
        assert_eq!(generate_name("a-", [0, 1, 2, 26, 27]), "a-bcd9b");
        assert_eq!(generate_name(&"x".repeat(100), [0; 5]).len(), 63);
        assert_eq!(
            generate_name(&"ä".repeat(40), [0; 5]),
            format!("{}bbbbb", "ä".repeat(29))
        );
    }
}
