//! Quantities (`100m`, `1.5Gi`, `3e2`) as exact decimals.

use std::cmp::Ordering;

/// Digits of the mantissa beyond this are refused: no quantity of use has them.
const DIGITS_MAX: usize = 30;
const EXPONENT_MAX: i32 = 40;

/// `mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
}

// === impl Quantity ===

impl Quantity {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORMAT: &str =
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || fraction.contains('.') || digits.len() > DIGITS_MAX {
            return Err(FORMAT);
        }
        let mantissa: i128 = digits.parse().map_err(|_| FORMAT)?;
        let mantissa = if negative { -mantissa } else { mantissa };
        let exponent = -i32::try_from(fraction.len()).map_err(|_| FORMAT)?;
        let (factor, shift) = suffix_of(suffix).ok_or(FORMAT)?;
        let mantissa = mantissa.checked_mul(factor).ok_or(FORMAT)?;
        Ok(Self {
            mantissa,
            exponent: exponent + shift,
        }
        .reduced())
    }

    pub fn from_int(value: i64) -> Self {
        Self {
            mantissa: value.into(),
            exponent: 0,
        }
        .reduced()
    }

    /// Without trailing zeros.
    fn reduced(mut self) -> Self {
        if self.mantissa == 0 {
            self.exponent = 0;
        }
        while self.mantissa != 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.exponent += 1;
        }
        self
    }

    pub fn sign(self) -> i64 {
        self.mantissa.signum() as i64
    }

    /// The value as an integer, if it is one that fits.
    pub fn as_int(self) -> Option<i64> {
        let scale = u32::try_from(self.exponent).ok()?;
        i64::try_from(self.mantissa.checked_mul(10_i128.checked_pow(scale)?)?).ok()
    }

    pub fn as_float(self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent)
            .parse()
            .unwrap_or(f64::NAN)
    }

    /// Both mantissas at the smaller exponent.
    fn aligned(&self, other: &Self) -> Option<(i128, i128, i32)> {
        let exponent = self.exponent.min(other.exponent);
        let scaled = |quantity: &Self| {
            let scale = u32::try_from(quantity.exponent - exponent).ok()?;
            quantity.mantissa.checked_mul(10_i128.checked_pow(scale)?)
        };
        Some((scaled(self)?, scaled(other)?, exponent))
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        match self.aligned(other) {
            Some((a, b, _)) => a.cmp(&b),
            // Too far apart to align: the floats tell.
            None => self
                .as_float()
                .partial_cmp(&other.as_float())
                .unwrap_or(Ordering::Equal),
        }
    }

    pub fn add(&self, other: &Self, negate: bool) -> Option<Self> {
        let (a, b, exponent) = self.aligned(other)?;
        let mantissa = if negate { a.checked_sub(b) } else { a.checked_add(b) }?;
        Some(Self { mantissa, exponent }.reduced())
    }
}

/// The factor and the decimal shift of a suffix.
fn suffix_of(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 0));
    match suffix {
        "Ki" => return binary(1),
        "Mi" => return binary(2),
        "Gi" => return binary(3),
        "Ti" => return binary(4),
        "Pi" => return binary(5),
        "Ei" => return binary(6),
        _ => {}
    }
    let shift = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.abs() <= EXPONENT_MAX).then_some(exponent)?
        }
    };
    Some((1, shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    #[test]
    fn compares_across_suffixes() {
        assert_eq!(quantity("1000m").compare(&quantity("1")), Ordering::Equal);
        assert_eq!(quantity("1.5Gi").compare(&quantity("1536Mi")), Ordering::Equal);
        assert_eq!(quantity("1Ki").compare(&quantity("1k")), Ordering::Greater);
        assert_eq!(quantity("3e2").as_int(), Some(300));
        assert_eq!(quantity("50m").as_int(), None);
        assert_eq!(
            quantity("1")
                .add(&quantity("500m"), true)
                .unwrap()
                .compare(&quantity("0.5")),
            Ordering::Equal
        );
        assert_eq!(quantity("-1.5k").sign(), -1);
        for bad in ["", "1.2.3", "Gi", "1x", "1e999", "."] {
            assert!(Quantity::parse(bad).is_err(), "{bad}");
        }
    }
}
