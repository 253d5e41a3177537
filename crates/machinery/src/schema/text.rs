//! How Go prints numbers in messages.

use serde_json::Value;

/// A float as Go's `%v` prints it: shortest form, with an exponent below 1e-4 and from 1e21 on.
pub fn go_float(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, digits_of) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{digits_of:0>2}")
        }
        None => text,
    }
}

/// A number of an object as Go holds it: integral JSON numbers are int64, all else float64.
pub fn go_number(value: &Value) -> String {
    match value.as_i64() {
        Some(integer) => integer.to_string(),
        None => value.as_f64().map(go_float).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_numbers_as_go() {
        assert_eq!(go_float(1.5), "1.5");
        assert_eq!(go_float(3.0), "3");
        assert_eq!(go_float(1e21), "1e+21");
        assert_eq!(go_float(0.00001), "1e-05");
    }
}
