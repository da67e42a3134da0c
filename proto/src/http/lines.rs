//! Where a head ends.

/// A search for the empty line that ends a head, which goes on where it stopped: a head that
/// arrives byte by byte is looked at once.
///
/// A line ends in CR LF. The lone LF that RFC 9112 §2.2 lets a recipient accept, a lone CR and a
/// NUL (§2.2, RFC 9110 §5.5) are refused as soon as they are seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeadScan {
    /// Bytes looked at. Invariant: `line_start <= at`.
    at: usize,
    line_start: usize,
    after_cr: bool,
}

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// A line does not end as a line does.
    Malformed(&'static str),
    /// The first line alone is as long as a head may be.
    FirstLineTooLong,
    /// The head is too long.
    TooLong,
}

impl HeadScan {
    /// Looks at what is new in `input`, which begins with the head; gives the head's length with
    /// the empty line, `None` while it is incomplete and may still end within `max` bytes.
    pub(super) fn advance(&mut self, input: &[u8], max: usize) -> Result<Option<usize>, HeadFault> {
        let seen = input.get(..max).unwrap_or(input);
        let Self {
            at: start,
            mut line_start,
            mut after_cr,
        } = *self;
        let new = seen.get(start..).unwrap_or_default();
        for (at, &byte) in (start..).zip(new) {
            match (byte, after_cr) {
                (b'\n', true) if at == line_start + 1 => return Ok(Some(at + 1)),
                (b'\n', true) => line_start = at + 1,
                (b'\n', false) => return Err(HeadFault::Malformed("a line ends in LF alone")),
                (_, true) => return Err(HeadFault::Malformed("a CR without LF")),
                (0, _) => return Err(HeadFault::Malformed("a NUL")),
                _ => {}
            }
            after_cr = byte == b'\r';
        }
        *self = Self {
            at: seen.len(),
            line_start,
            after_cr,
        };
        match (input.len() >= max, line_start) {
            (false, _) => Ok(None),
            (true, 0) => Err(HeadFault::FirstLineTooLong),
            (true, _) => Err(HeadFault::TooLong),
        }
    }
}
