//! The wire format: tags and values. What the values mean is said by descriptors.

/// A value as it is told apart by its tag alone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// Calls `visit` with the number and the value of each field; fails where the message is broken or `visit` fails.
///
/// Groups, which no API of Kubernetes has, count as broken.
pub(super) fn each<'a, E: From<Broken>>(
    mut message: &'a [u8],
    mut visit: impl FnMut(u64, Wire<'a>) -> Result<(), E>,
) -> Result<(), E> {
    while !message.is_empty() {
        let (number, value) = field(&mut message).ok_or(Broken)?;
        visit(number, value)?;
    }
    Ok(())
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let tag = varint(message)?;
    let value = match tag & 7 {
        0 => Wire::Varint(varint(message)?),
        1 => {
            let bytes = take(message, 8)?;
            Wire::Fixed64(u64::from_le_bytes(bytes.try_into().ok()?))
        }
        2 => {
            let len = varint(message)?;
            Wire::Bytes(take(message, usize::try_from(len).ok()?)?)
        }
        5 => {
            take(message, 4)?;
            Wire::Fixed32
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some(taken)
}
