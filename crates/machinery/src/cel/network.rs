//! IP addresses and CIDRs as Kubernetes' CEL library reads them (Go's `netip`, without zones and mapped addresses).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip(pub IpAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: Ip,
    pub bits: u8,
}

// === impl Ip ===

impl Ip {
    pub fn parse(text: &str) -> Result<Self, String> {
        let quoted = || format!("{text:?}");
        if text.contains('%') {
            return Err(format!("IP address {} with zone value is not allowed", quoted()));
        }
        let address: IpAddr = text
            .parse()
            .map_err(|_| format!("IP Address {} parse error during conversion from string", quoted()))?;
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(format!("IPv4-mapped IPv6 address {} is not allowed", quoted()));
        }
        Ok(Self(address))
    }

    pub fn family(self) -> i64 {
        if self.0.is_ipv4() { 4 } else { 6 }
    }

    pub fn is_link_local_multicast(self) -> bool {
        match self.0 {
            IpAddr::V4(v4) => matches!(v4.octets(), [224, 0, 0, _]),
            IpAddr::V6(v6) => v6.segments().first().is_some_and(|first| first & 0xff0f == 0xff02),
        }
    }

    pub fn is_link_local_unicast(self) -> bool {
        match self.0 {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80),
        }
    }

    pub fn is_global_unicast(self) -> bool {
        let broadcast = self.0 == IpAddr::V4(Ipv4Addr::BROADCAST);
        let special = self.0.is_unspecified() || self.0.is_loopback() || self.0.is_multicast();
        !broadcast && !special && !self.is_link_local_unicast()
    }

    fn bits(self) -> u128 {
        match self.0 {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn width(self) -> u8 {
        if self.0.is_ipv4() { 32 } else { 128 }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Cidr ===

impl Cidr {
    pub fn parse(text: &str) -> Result<Self, String> {
        let error = || format!("network address parse error during conversion from string: {text:?}");
        let (address, bits) = text.split_once('/').ok_or_else(error)?;
        let plain =
            !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let address = Ip::parse(address)?;
        let bits: u8 = bits.parse().map_err(|_| error())?;
        if plain && bits <= address.width() {
            Ok(Self { address, bits })
        } else {
            Err(error())
        }
    }

    fn mask(self) -> u128 {
        let host = u32::from(self.address.width() - self.bits.min(self.address.width()));
        let all = if self.address.width() == 32 {
            u128::from(u32::MAX)
        } else {
            u128::MAX
        };
        all.checked_shr(host)
            .map_or(0, |_| all & u128::MAX.checked_shl(host).unwrap_or(0))
    }

    pub fn contains_ip(self, ip: Ip) -> bool {
        self.address.width() == ip.width() && self.address.bits() & self.mask() == ip.bits() & self.mask()
    }

    pub fn contains_cidr(self, other: Self) -> bool {
        self.bits <= other.bits && self.contains_ip(other.address)
    }

    #[must_use]
    pub fn masked(self) -> Self {
        let bits = self.address.bits() & self.mask();
        let address = match self.address.0 {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default())),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        Self {
            address: Ip(address),
            bits: self.bits,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_is_in_them() {
        let net = Cidr::parse("10.1.2.3/8").unwrap();
        assert!(net.contains_ip(Ip::parse("10.255.0.1").unwrap()));
        assert!(!net.contains_ip(Ip::parse("11.0.0.1").unwrap()));
        assert!(!net.contains_ip(Ip::parse("::1").unwrap()));
        assert_eq!(net.masked().to_string(), "10.0.0.0/8");
        assert!(
            Cidr::parse("0.0.0.0/0")
                .unwrap()
                .contains_ip(Ip::parse("1.2.3.4").unwrap())
        );
        assert!(
            Cidr::parse("::/0")
                .unwrap()
                .contains_cidr(Cidr::parse("fe80::/10").unwrap())
        );
        assert!(Cidr::parse("10.0.0.0/33").is_err());
        assert!(Ip::parse("::ffff:1.2.3.4").is_err());
    }
}
