//! The little of ASN.1's distinguished encoding (X.690) that finds an extension in a certificate.

pub(crate) const TAG_OCTETS: u8 = 0x04;
pub(crate) const TAG_OID: u8 = 0x06;
pub(crate) const TAG_SEQUENCE: u8 = 0x30;

/// Values one after the other. Only tags of one byte and lengths of up to four are understood.
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next value with its tag, if there is one that is well formed.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || count > rest.len() {
                return None;
            }
            let (digits, rest) = rest.split_at(count);
            let length = digits
                .iter()
                .fold(0usize, |length, digit| length << 8 | usize::from(*digit));
            // A shorter form must be used where there is one.
            let shortest = digits[0] != 0 && length >= 0x80;
            (shortest.then_some(length)?, rest)
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    /// Returns the next value if it has this tag.
    pub(crate) fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, value) = self.next()?;
        (tag == wanted).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_follow_each_other() {
        let check = |bytes: &[u8], expected: &[Option<(u8, usize)>]| {
            let mut der = Der::new(bytes);
            for one in expected {
                assert_eq!(der.next().map(|(tag, value)| (tag, value.len())), *one);
            }
        };
        check(&[4, 1, 9, 5, 0], &[Some((4, 1)), Some((5, 0)), None]);
        check(&[4, 2, 9], &[None]);
        check(&[4, 0x80], &[None]);
        check(&[4, 0x81, 1, 9], &[None]);
        check(&[0x1f, 1, 9], &[None]);
        check(&[4, 0x85, 1, 1, 1, 1, 1], &[None]);
        let long = [&[4, 0x82, 1, 0][..], &[7; 256]].concat();
        check(&long, &[Some((4, 256)), None]);
    }

    proptest! {
        #[test]
        fn what_is_read_was_there(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut der = Der::new(&bytes);
            let mut total = 0;
            while let Some((_, value)) = der.next() {
                total += value.len() + 2;
            }
            prop_assert!(total <= bytes.len());
        }
    }
}
