//! Where each setting was set last, for messages.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};

/// The file and line, or the variable, by the key of the setting.
#[derive(Default)]
pub(super) struct Places(BTreeMap<String, String>);

impl Places {
    /// Notes what a file sets. A later file wins.
    ///
    /// # Errors
    /// `Configuration`, with file and line, if it is not TOML.
    pub(super) fn add_file(&mut self, file: &str, text: &str) -> Result<()> {
        let line = |byte: usize| text[..byte.min(text.len())].matches('\n').count() + 1;
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            Error::configuration(format!("{file} line {}: {}", line(at), error.message()))
        })?;
        for (section, keys) in table.get_ref() {
            let mut note = |key: String, byte| self.0.insert(key, format!("{file} line {}", line(byte)));
            note(section.get_ref().to_string(), section.span().start);
            let DeValue::Table(keys) = keys.get_ref() else { continue };
            for key in keys.keys() {
                note(format!("{}.{}", section.get_ref(), key.get_ref()), key.span().start);
            }
        }
        Ok(())
    }

    /// Notes that a variable sets a key.
    pub(super) fn add_variable(&mut self, variable: &str, key: &str) {
        self.0.insert(key.to_owned(), variable.to_owned());
    }

    /// Where a key is set; `settings` if it is set nowhere.
    pub(super) fn of(&self, key: &str) -> &str {
        let section = || key.split_once('.').and_then(|(section, _)| self.0.get(section));
        self.0.get(key).or_else(section).map_or("settings", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    #[test]
    fn all_faults_of_the_settings_are_reported_each_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dev.toml"), "[load]\nbatch_size = 0\n\n[stage]\nthreads = 65\n").unwrap();
        let config = folder.path().to_str().unwrap();
        let of = |more: &[(&str, &str)]| {
            let variables = [("SMALL_ETL_CONFIG", config)].into_iter().chain(more.iter().copied());
            Settings::from_variables(variables.map(|(name, value)| (name.into(), value.into()))).unwrap_err().chain()
        };
        let dev = folder.path().join("dev.toml").display().to_string();
        assert_eq!(
            of(&[("SMALL_ETL__LOAD__LEASE_SECONDS", "0")]),
            format!(
                "{dev} line 2: load.batch_size must be at least 1\nSMALL_ETL__LOAD__LEASE_SECONDS: load.lease_seconds must be \
                 at least 1\n{dev} line 5: stage.threads must be 1 to 64"
            )
        );
        std::fs::write(folder.path().join("dev.toml"), "[load]\nbatch = 1\n[stage]\nthread = 2\n").unwrap();
        assert_eq!(of(&[]).matches("unknown key").count(), 2);
        std::fs::write(folder.path().join("dev.toml"), "[load]\nbatch_size = \"ten\"\n").unwrap();
        assert!(of(&[]).starts_with(&format!("{dev} line 2: ")), "{}", of(&[]));
        std::fs::write(folder.path().join("dev.toml"), "\n[load\n").unwrap();
        assert!(of(&[]).starts_with(&format!("{dev} line 2: ")), "{}", of(&[]));
    }
}
