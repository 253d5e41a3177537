//! Batteries: objects and users that help when trying the server out and that production may not want (K.1).

/// Which batteries are in. The default is workspace-types and admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batteries {
    /// WorkspaceTypes organization and team.
    pub workspace_types: bool,
    /// The users kcp-admin and shard-admin, and admin.kubeconfig.
    pub admin: bool,
    /// A user without rights of its own, in admin.kubeconfig. Needs `admin`.
    pub user: bool,
    /// A ServiceAccount in root that may read /metrics.
    pub metrics_viewer: bool,
}

/// What is wrong with a list of batteries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatteriesError {
    #[error("--batteries-included must all be prefixed with + or - or none")]
    Mixed,
    #[error("unknown battery: {0}")]
    Unknown(String),
    #[error("battery user enabled which requires admin as well")]
    UserWithoutAdmin,
}

// === impl Batteries ===

impl Default for Batteries {
    fn default() -> Self {
        Self {
            admin: true,
            workspace_types: true,
            ..Self::NONE
        }
    }
}

impl Batteries {
    pub const NONE: Batteries = Batteries {
        workspace_types: false,
        admin: false,
        user: false,
        metrics_viewer: false,
    };

    /// From the values of `--batteries-included`: the whole list (`admin`, `user`), or changes to the default (`+user`,
    /// `-admin`). Without any value there are none.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, BatteriesError> {
        let relative = |name: &S| name.as_ref().starts_with(['+', '-']);
        let changes = names.iter().any(relative);
        if changes && !names.iter().all(relative) {
            return Err(BatteriesError::Mixed);
        }
        let mut batteries = if changes { Self::default() } else { Self::NONE };
        for name in names {
            let name = name.as_ref();
            batteries.set(name.trim_start_matches(['+', '-']), !name.starts_with('-'))?;
        }
        if batteries.user && !batteries.admin {
            return Err(BatteriesError::UserWithoutAdmin);
        }
        Ok(batteries)
    }

    /// The names of those that are in, sorted.
    pub fn names(self) -> Vec<&'static str> {
        [
            ("admin", self.admin),
            ("metrics-viewer", self.metrics_viewer),
            ("user", self.user),
            ("workspace-types", self.workspace_types),
        ]
        .into_iter()
        .filter_map(|(name, is_in)| is_in.then_some(name))
        .collect()
    }

    fn set(&mut self, name: &str, is_in: bool) -> Result<(), BatteriesError> {
        let flag = match name {
            "workspace-types" => &mut self.workspace_types,
            "admin" => &mut self.admin,
            "user" => &mut self.user,
            "metrics-viewer" => &mut self.metrics_viewer,
            unknown => return Err(BatteriesError::Unknown(unknown.to_owned())),
        };
        *flag = is_in;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_replace_the_default() {
        let batteries = Batteries::parse(&["admin", "user"]).unwrap();
        assert_eq!(batteries.names(), ["admin", "user"]);
        assert_eq!(Batteries::parse::<&str>(&[]), Ok(Batteries::NONE));
    }

    #[test]
    fn signs_change_the_default() {
        assert_eq!(
            Batteries::parse(&["+user"]).unwrap().names(),
            ["admin", "user", "workspace-types"]
        );
        assert_eq!(Batteries::parse(&["-workspace-types"]).unwrap().names(), ["admin"]);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        assert_eq!(Batteries::parse(&["+user", "admin"]), Err(BatteriesError::Mixed));
        assert_eq!(Batteries::parse(&["lead"]), Err(BatteriesError::Unknown("lead".into())));
        assert_eq!(Batteries::parse(&["user"]), Err(BatteriesError::UserWithoutAdmin));
    }
}
