//! Values of flags and variables as Go spells them.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

/// Parses a boolean in any of Go's spellings.
pub fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing \"{text}\": invalid syntax"
        )),
    }
}

/// Parses a number, with Go's words for what is none.
pub fn go_int(text: &str) -> Result<i64, String> {
    let why = |error| {
        format!(
            "strconv.ParseInt: parsing \"{text}\": {}",
            no_number(&error)
        )
    };
    text.parse().map_err(why)
}

/// Parses a number that is not negative, with Go's words for what is none.
pub fn go_uint<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    let why = |error| {
        format!(
            "strconv.ParseUint: parsing \"{text}\": {}",
            no_number(&error)
        )
    };
    text.parse().map_err(why)
}

fn no_number(error: &ParseIntError) -> &'static str {
    match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}
