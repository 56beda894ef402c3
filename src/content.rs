//! Content of a file that may hold secrets: what is written, and what may be shown of it.

/// Content of a file, and the same with its secrets masked.
#[derive(Clone)]
pub struct Content {
    /// What is written.
    real: Vec<u8>,
    /// What may be shown.
    shown: String,
}

impl Content {
    /// What is written.
    pub fn real(&self) -> &[u8] {
        &self.real
    }

    /// What may be shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Content without secrets.
    pub fn plain(text: impl Into<String>) -> Self {
        let shown = text.into();
        Self { real: shown.clone().into_bytes(), shown }
    }

    /// Content with secrets, and what may be shown of it.
    pub fn masked(real: impl Into<Vec<u8>>, shown: impl Into<String>) -> Self {
        Self { real: real.into(), shown: shown.into() }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}
