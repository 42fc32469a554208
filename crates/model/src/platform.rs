//! Platforms: which machine an image is for, and which of several images a machine prefers.
//!
//! Looking at the machine's processor is not done here; [`Platform::host`] says what this program was compiled for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::go_order::Fields;
use crate::serde_go::null_default;

/// An operating system and a processor, in Go's words (`linux`, `amd64`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Platform {
    /// The operating system (`GOOS`).
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// The processor (`GOARCH`).
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// The processor's variant, such as `v7`.
    #[serde(default)]
    pub variant: Option<String>,
    /// The operating system's version; Windows only.
    #[serde(default, rename = "os.version")]
    pub os_version: Option<String>,
    /// Features that the image asks of the operating system; Windows only.
    #[serde(default, rename = "os.features", deserialize_with = "null_default")]
    pub os_features: Vec<String>,
    /// Features that the image asks of the processor; Docker's manifest list only.
    #[serde(default, deserialize_with = "null_default")]
    pub features: Vec<String>,
}

/// Why a text is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// The text has not the form `os/arch[/variant]`.
    #[error(
        "invalid platform syntax for --platform=\"{text}\": \"{text}\": cannot parse platform specifier (use OS/ARCH[/VARIANT])"
    )]
    Syntax {
        /// The text as given.
        text: String,
    },
}

impl Platform {
    /// Makes a platform of an operating system and a processor, spelled as in image documents.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            ..Self::default()
        }
    }

    /// Returns the platform this program was compiled for, in Go's words.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture)
    }

    /// Parses `os/arch[/variant]`, or `local` for the host; the words are [normalised](Self::normalized).
    ///
    /// # Errors
    /// When the text has another number of parts or an empty one.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        if text == "local" {
            return Ok(Self::host());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let known = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(known) {
            return Err(PlatformError::Syntax {
                text: text.to_owned(),
            });
        }
        let mut platform = Self::new(parts[0], parts[1]);
        platform.variant = parts.get(2).map(|&part| part.to_owned());
        Ok(platform.normalized())
    }

    /// Returns the same platform in the usual words: lower case, `aarch64` as `arm64`, `armhf` as `arm/v7`, and so on.
    pub fn normalized(mut self) -> Self {
        self.os.make_ascii_lowercase();
        if self.os == "macos" {
            self.os = "darwin".to_owned();
        }
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self
            .variant
            .take()
            .map(|v| v.to_ascii_lowercase())
            .unwrap_or_default();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", "") => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", other) => ("amd64", other),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", "v8"),
            ("aarch64", other) => ("arm64", other),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        self.variant = (!variant.is_empty()).then(|| variant.to_owned());
        self.architecture = architecture.to_owned();
        self
    }

    /// Returns which platforms this one accepts, best first: (operating system, processor, variant) to be compared as
    /// text.
    pub fn wanted(&self) -> Vec<Platform> {
        let table: &[&str] = match self.architecture.as_str() {
            "arm" => &["v8", "v7", "v6", "v5"],
            "arm64" => &["v8"],
            _ => &[],
        };
        let variants: Vec<&str> = match self.variant.as_deref().filter(|v| !v.is_empty()) {
            Some(variant) => match table.iter().position(|v| *v == variant) {
                Some(at) => table[at..].iter().copied().chain([""]).collect(),
                None => vec![variant, ""],
            },
            None => [""].into_iter().chain(table.iter().copied()).collect(),
        };
        variants
            .into_iter()
            .map(|variant| Platform {
                variant: (!variant.is_empty()).then(|| variant.to_owned()),
                ..Platform::new(&self.os, &self.architecture)
            })
            .collect()
    }

    /// Returns whether operating system, processor and variant are the same text; an absent variant is an empty one.
    pub fn same_machine(&self, other: &Platform) -> bool {
        let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
        self.os == other.os
            && self.architecture == other.architecture
            && variant(self) == variant(other)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text)
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields::new(serializer);
        fields
            .always("architecture", &self.architecture)
            .always("os", &self.os)
            .filled("os.version", &self.os_version)
            .filled("os.features", &self.os_features)
            .filled("variant", &self.variant)
            .filled("features", &self.features);
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_the_usual_words() {
        let check = |text: &str, expected: &str| {
            let shown = Platform::parse(text).map_or_else(|err| err.to_string(), |p| p.to_string());
            assert_eq!(shown, expected, "{text}");
        };
        check("linux/amd64", "linux/amd64");
        check("Linux/x86_64", "linux/amd64");
        check("linux/amd64/v1", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/8", "linux/arm64/v8");
        check("linux/arm", "linux/arm/v7");
        check("linux/armel", "linux/arm/v6");
        check("macos/i386", "darwin/386");
        check(
            "linux",
            "invalid platform syntax for --platform=\"linux\": \"linux\": cannot parse platform specifier (use OS/ARCH[/VARIANT])",
        );
        check(
            "a/b/c/d",
            "invalid platform syntax for --platform=\"a/b/c/d\": \"a/b/c/d\": cannot parse platform specifier (use OS/ARCH[/VARIANT])",
        );
        check(
            "linux//v7",
            "invalid platform syntax for --platform=\"linux//v7\": \"linux//v7\": cannot parse platform specifier (use OS/ARCH[/VARIANT])",
        );
    }

    #[test]
    fn preferences_follow_the_tables() {
        let check = |platform: Platform, expected: &[&str]| {
            let shown: Vec<String> = platform.wanted().iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected);
        };
        check(Platform::new("linux", "amd64"), &["linux/amd64"]);
        check(
            Platform::new("linux", "arm64"),
            &["linux/arm64", "linux/arm64/v8"],
        );
        check(
            Platform::parse("linux/arm/v6").unwrap(),
            &["linux/arm/v6", "linux/arm/v5", "linux/arm"],
        );
        check(
            Platform::parse("linux/riscv64/x").unwrap(),
            &["linux/riscv64/x", "linux/riscv64"],
        );
    }
}
