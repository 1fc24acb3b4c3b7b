//! Groups of event types, and the outcome that a type stands for.

use std::str::FromStr;

use super::event::EventType;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The texts of all values.
            pub const TEXTS: &'static [&'static str] = &[$($text),+];
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("must be one of: {}", Self::TEXTS.join(", "))),
                }
            }
        }
    };
}

words! {
    /// What an event is about.
    EventGroup {
        /// Signing in and out, and sessions.
        SignIn = "sign_in",
        /// Users, their roles and passwords.
        Users = "users",
        /// API keys.
        Keys = "keys",
        /// Models and their pulls.
        Models = "models",
        /// Denied requests.
        Access = "access",
        /// The log itself.
        System = "system",
    }
}

words! {
    /// Whether the event is a success or a failure.
    EventResult {
        /// Something was done.
        Success = "success",
        /// Something was refused, or failed.
        Failure = "failure",
    }
}

impl EventType {
    /// The group of the type.
    #[must_use]
    pub const fn group(self) -> EventGroup {
        match self {
            Self::LoginSuccess
            | Self::LoginFailure
            | Self::LoginRateLimited
            | Self::SessionRefreshed
            | Self::SessionReuseDetected
            | Self::Logout => EventGroup::SignIn,
            Self::UserCreated
            | Self::UserUpdated
            | Self::UserDeleted
            | Self::PasswordSet
            | Self::RolesChanged
            | Self::UserDisabled
            | Self::UserEnabled
            | Self::AdminBootstrapped
            | Self::OverrideSet
            | Self::OverrideCleared => EventGroup::Users,
            Self::ApiKeyCreated
            | Self::ApiKeyStaged
            | Self::ApiKeyIssued
            | Self::ApiKeyRotated
            | Self::ApiKeyGraceEnded
            | Self::ApiKeyUpdated
            | Self::ApiKeyDiscarded
            | Self::ApiKeyRevoked
            | Self::ApiKeyExpired => EventGroup::Keys,
            Self::ModelPullStarted
            | Self::ModelPullCancelled
            | Self::ModelPulled
            | Self::ModelAdopted
            | Self::ModelDeleted
            | Self::ModelDeletionFailed => EventGroup::Models,
            Self::AccessDenied => EventGroup::Access,
            Self::AuditTrimmed => EventGroup::System,
        }
    }

    /// The outcome that the type stands for.
    #[must_use]
    pub const fn result(self) -> EventResult {
        match self {
            Self::LoginFailure
            | Self::LoginRateLimited
            | Self::SessionReuseDetected
            | Self::AccessDenied
            | Self::ModelDeletionFailed => EventResult::Failure,
            _ => EventResult::Success,
        }
    }
}
