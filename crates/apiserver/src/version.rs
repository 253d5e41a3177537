//! `/version`.

use serde_json::json;

/// What a server says of itself.
#[derive(Clone, Debug)]
pub struct VersionInfo {
    /// `v<kubernetes>+kcp-v<own>`; kubectl and client-go read it as a semantic version.
    pub git_version: String,
    pub git_commit: String,
    /// RFC 3339.
    pub build_date: String,
    /// Of the compiler.
    pub rust_version: String,
    pub platform: String,
}

// === impl VersionInfo ===

impl Default for VersionInfo {
    fn default() -> Self {
        Self {
            git_version: format!("v1.36.0+kcp-v{}", env!("CARGO_PKG_VERSION")),
            git_commit: String::new(),
            build_date: "1970-01-01T00:00:00Z".to_owned(),
            rust_version: concat!("rust", env!("CARGO_PKG_RUST_VERSION")).to_owned(),
            platform: format!("{}/{}", std::env::consts::OS, go_arch(std::env::consts::ARCH)),
        }
    }
}

impl VersionInfo {
    /// The body, indented as Kubernetes sends it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut parts = self.git_version.trim_start_matches('v').split('.');
        let major = parts.next().unwrap_or_default();
        let minor = parts.next().unwrap_or_default();
        let before: u32 = minor.parse::<u32>().unwrap_or_default().saturating_sub(1);
        // `goVersion` is what clients look for; it names the compiler.
        let body = json!({
            "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor,
            "minCompatibilityMajor": major, "minCompatibilityMinor": before.to_string(),
            "gitVersion": self.git_version, "gitCommit": self.git_commit, "gitTreeState": "clean",
            "buildDate": self.build_date, "goVersion": self.rust_version, "compiler": "rustc", "platform": self.platform,
        });
        serde_json::to_vec_pretty(&body).unwrap_or_default()
    }
}

fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_agree() {
        let info = VersionInfo {
            git_version: "v1.36.0+kcp-v0.30.0".to_owned(),
            ..VersionInfo::default()
        };
        let body: serde_json::Value = serde_json::from_slice(&info.to_json()).unwrap();
        assert_eq!(
            (body["major"].as_str(), body["minor"].as_str()),
            (Some("1"), Some("36"))
        );
        assert_eq!(body["minCompatibilityMinor"], "35");
    }
}
