//! Kubeconfig files as trees: several of them merged for reading, each written back with all that it had, known or not.
//!
//! The rules are client-go's: of equal names the first file wins; a change goes to the file that an entry came from and
//! something new to the first file that exists; files are written in place, so that links and modes stay.

use std::path::{Path, PathBuf};

use env::Disk;
use machinery::object::ObjectExt;
use serde_json::{Map, Value, json};

/// A list of a kubeconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Clusters,
    Contexts,
    Users,
}

/// The files that are in force.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    files: Vec<KubeconfigFile>,
    /// Where new entries go: index into `files`.
    default: usize,
}

#[derive(Clone, Debug)]
struct KubeconfigFile {
    path: PathBuf,
    content: Value,
    changed: bool,
}

/// Where kubeconfigs are looked for.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--kubeconfig`: this file alone.
    pub explicit: Option<PathBuf>,
    /// The value of `KUBECONFIG`, a list as of `PATH`.
    pub listed: Option<String>,
    pub home: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("error loading config file {path:?}: {why}")]
    Load { path: PathBuf, why: String },
    #[error("error writing config file {path:?}: {why}")]
    Write { path: PathBuf, why: String },
}

// === impl Section ===

impl Section {
    fn list(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Contexts => "contexts",
            Self::Users => "users",
        }
    }

    fn member(self) -> &'static str {
        match self {
            Self::Clusters => "cluster",
            Self::Contexts => "context",
            Self::Users => "user",
        }
    }

    /// Members that hold a path, relative to the file they stand in.
    fn path_members(self) -> &'static [&'static str] {
        match self {
            Self::Clusters => &["certificate-authority"],
            Self::Contexts => &[],
            Self::Users => &["client-certificate", "client-key", "tokenFile"],
        }
    }
}

// === impl Sources ===

impl Sources {
    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.explicit {
            return vec![path.clone()];
        }
        let listed: Vec<PathBuf> = self
            .listed
            .iter()
            .flat_map(std::env::split_paths)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        if !listed.is_empty() {
            return listed;
        }
        self.home.iter().map(|home| home.join(".kube").join("config")).collect()
    }

    /// Reads the files. Absent ones count as empty, unless named explicitly.
    pub fn load(&self, disk: &dyn Disk) -> Result<Kubeconfig, KubeconfigError> {
        let mut files = Vec::new();
        for path in self.candidates() {
            let contents = match disk.read(&path) {
                Ok(contents) => Some(contents),
                Err(why) if why.kind() == std::io::ErrorKind::NotFound && self.explicit.is_none() => None,
                Err(why) => {
                    let why = why.to_string();
                    return Err(KubeconfigError::Load { path, why });
                }
            };
            files.push((path, contents));
        }
        Kubeconfig::parse(files)
    }
}

// === impl Kubeconfig ===

impl Kubeconfig {
    /// Files in order of precedence, with what they contain if they exist.
    pub fn parse(files: Vec<(PathBuf, Option<Vec<u8>>)>) -> Result<Self, KubeconfigError> {
        let default = files
            .iter()
            .position(|(_, contents)| contents.is_some())
            .unwrap_or_default();
        let mut parsed = Vec::with_capacity(files.len());
        for (path, contents) in files {
            let content = match contents {
                Some(bytes) if !bytes.trim_ascii().is_empty() => {
                    machinery::yaml::decode_either(&bytes).map(|read| read.value)
                }
                _ => Ok(json!({"apiVersion": "v1", "kind": "Config"})),
            };
            match content {
                Ok(content @ Value::Object(_)) => parsed.push(KubeconfigFile {
                    path,
                    content,
                    changed: false,
                }),
                Ok(_) => {
                    let why = "not a mapping".to_owned();
                    return Err(KubeconfigError::Load { path, why });
                }
                Err(why) => {
                    let why = why.to_string();
                    return Err(KubeconfigError::Load { path, why });
                }
            }
        }
        Ok(Self { files: parsed, default })
    }

    /// `""` when none is set.
    pub fn current_context(&self) -> &str {
        let set = self
            .files
            .iter()
            .filter_map(|file| file.content.str_at(&["current-context"]));
        set.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// An entry's settings, paths in it made absolute.
    pub fn get(&self, section: Section, name: &str) -> Option<Value> {
        let (file, entry) = self
            .files
            .iter()
            .find_map(|file| file.find(section, name).map(|entry| (file, entry)))?;
        let mut settings = entry.get(section.member()).cloned().unwrap_or_else(|| json!({}));
        let dir = file.path.parent().unwrap_or(Path::new(""));
        for member in section.path_members() {
            if let Some(path) = settings.str_at(&[member]).filter(|path| !path.is_empty()) {
                let whole = dir.join(path).to_string_lossy().into_owned();
                settings.set_at(&[member], Value::String(whole));
            }
        }
        Some(settings)
    }

    pub fn has(&self, section: Section, name: &str) -> bool {
        self.files.iter().any(|file| file.find(section, name).is_some())
    }

    /// Sets an entry where it stands, or adds it to the default file.
    pub fn set(&mut self, section: Section, name: &str, settings: Value) {
        let origin = self.files.iter().position(|file| file.find(section, name).is_some());
        if let Some(file) = self.files.get_mut(origin.unwrap_or(self.default)) {
            file.set(section, name, settings);
        }
    }

    /// Sets it in the file that decides, or else in the default file.
    pub fn set_current_context(&mut self, name: &str) {
        if self.current_context() == name {
            return;
        }
        let decides = |file: &KubeconfigFile| file.content.str_at(&["current-context"]).is_some_and(|n| !n.is_empty());
        let origin = self.files.iter().position(decides).unwrap_or(self.default);
        if let Some(file) = self.files.get_mut(origin) {
            file.content
                .set_at(&["current-context"], Value::String(name.to_owned()));
            file.changed = true;
        }
    }

    /// The files to write, with their new text.
    pub fn changes(&self) -> Vec<(&Path, String)> {
        let changed = self.files.iter().filter(|file| file.changed);
        changed
            .map(|file| (file.path.as_path(), machinery::yaml::encode(&file.content)))
            .collect()
    }

    /// Writes what changed.
    pub fn save(&mut self, disk: &dyn Disk) -> Result<(), KubeconfigError> {
        for (path, text) in self.changes() {
            write_in_place(disk, path, text.as_bytes()).map_err(|why| KubeconfigError::Write {
                path: path.to_owned(),
                why: why.to_string(),
            })?;
        }
        for file in &mut self.files {
            file.changed = false;
        }
        Ok(())
    }
}

/// In place: a kubeconfig may be a link, and its mode keeps others from its secrets.
fn write_in_place(disk: &dyn Disk, path: &Path, text: &[u8]) -> std::io::Result<()> {
    let file = disk.open(path)?;
    if !file.try_lock()? {
        return Err(std::io::Error::other("another process is writing it"));
    }
    file.write_at(0, text)?;
    file.set_len(text.len() as u64)?;
    file.sync()
}

// === impl KubeconfigFile ===

impl KubeconfigFile {
    fn find(&self, section: Section, name: &str) -> Option<&Value> {
        let entries = self.content.get(section.list())?.as_array()?;
        entries.iter().find(|entry| entry.str_at(&["name"]) == Some(name))
    }

    fn set(&mut self, section: Section, name: &str, settings: Value) {
        let Some(content) = self.content.as_object_mut() else {
            return;
        };
        let list = content.entry(section.list()).or_insert(Value::Null);
        if !list.is_array() {
            *list = Value::Array(Vec::new());
        }
        let Some(entries) = list.as_array_mut() else { return };
        self.changed = true;
        match entries.iter_mut().find(|entry| entry.str_at(&["name"]) == Some(name)) {
            Some(entry) => entry.set_at(&[section.member()], settings),
            None => {
                let members = [("name", Value::String(name.to_owned())), (section.member(), settings)];
                let entry: Map<String, Value> = members
                    .map(|(key, value)| (key.to_owned(), value))
                    .into_iter()
                    .collect();
                entries.push(Value::Object(entry));
                // client-go writes its lists sorted, so what two tools write stays comparable.
                entries.sort_by(|a, b| a.str_at(&["name"]).cmp(&b.str_at(&["name"])));
            }
        }
    }
}

#[cfg(test)]
mod tests;
