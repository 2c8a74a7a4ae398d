//! `application/x-www-form-urlencoded` (URL Standard §5): query strings.

use super::normalize::hex_byte;

/// The bytes that `encoded` stands for: `+` is a space, and a percent sign without two digits is
/// itself.
pub(super) fn decode(encoded: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = encoded.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        Some(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, ..]) => match hex_byte(*high, *low) {
                Some(byte) => {
                    rest = &after[2..];
                    byte
                }
                None => b'%',
            },
            _ => first,
        })
    })
}

/// Names and values in their order; what is no UTF-8 is replaced.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let text = |encoded| {
        let bytes: Vec<u8> = decode(encoded).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text(name), text(value))
        })
}

/// What [`pairs`] reads.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        append(&mut query, name);
        query.push('=');
        append(&mut query, value);
    }
    query
}

fn append(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                query.push(char::from(byte));
            }
            b' ' => query.push('+'),
            other => query.push_str(&format!("%{other:02X}")),
        }
    }
}

#[cfg(test)]
mod tests;
