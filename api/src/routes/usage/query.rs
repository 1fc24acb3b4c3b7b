//! The query parameters of the operations on usage.

use std::{str::FromStr, time::Duration};

use paddock_accounts::{
    Accounts, CredentialId, Sort, UserId, Violation,
    access::Permission,
    types::Scope,
    usage::{Day, GroupBy, UsageColumn, UsageFilter},
};
use paddock_ollama::ModelName;
use paddock_store::clock::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    auth::Caller,
    http::{
        deadline::with_db_timeout,
        error::ApiError,
        export::ExportFormat,
        extract::deserialize::{number, parsed},
    },
    routes::{schemas::columns, time_bound::TimeBound},
};

/// The longest period whose single requests are added up. Whole days have their totals, and no such
/// bound.
const MAX_PERIOD: Duration = Duration::from_hours(31 * 24);

/// The value of `group_by`: some of `user`, `key`, `model`, `day` and `hour`, each once.
#[derive(Clone, Copy)]
struct Groups(GroupBy);

impl FromStr for Groups {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut groups = GroupBy::default();
        for word in text.split(',') {
            let group = match word {
                "day" => &mut groups.day,
                "hour" => &mut groups.hour,
                "user" => &mut groups.user,
                "key" => &mut groups.key,
                "model" => &mut groups.model,
                _ => return Err("must be some of user, key, model, day and hour, with commas between"),
            };
            if std::mem::replace(group, true) {
                return Err("must name each of user, key, model, day and hour once at the most");
            }
        }
        Ok(Self(groups))
    }
}

/// Defines the query of an operation on totals, with the parameters that all of them share.
macro_rules! filtered {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(super) struct $name {
            /// The beginning of the period: a UTC date such as `2026-11-01`, or a time in RFC 3339.
            /// Absent: no lower bound.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, example = "2026-11-01")]
            from: Option<TimeBound>,
            /// The end of the period, which is not included: a UTC date, or a time in RFC 3339.
            /// Absent: no upper bound.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, example = "2026-11-02T12:00:00Z")]
            to: Option<TimeBound>,
            /// The groups: some of `user`, `key`, `model`, `day` and `hour`, separated by commas.
            /// Absent: one row of totals. Groups by hour, and periods that begin or end within a day,
            /// need `from` and span at most 31 days.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>, example = "user,model")]
            group_by: Option<Groups>,
            /// The sum to sort by; `-` in front sorts the largest first. Absent: in order of day,
            /// hour, user, key and model.
            #[serde(default, deserialize_with = "parsed")]
            #[param(schema_with = columns::<UsageColumn>)]
            sort: Option<Sort<UsageColumn>>,
            /// Only this user. Absent: all users for an admin, the caller for others.
            #[serde(default, deserialize_with = "number")]
            user_id: Option<i64>,
            /// Only this key.
            #[serde(default, deserialize_with = "number")]
            credential_id: Option<i64>,
            /// Only this model, in any spelling. Without a tag the name means the tag `latest`.
            #[serde(default, deserialize_with = "parsed")]
            #[param(value_type = Option<String>)]
            model: Option<ModelName>,
            $($own)*
        }

        impl $name {
            /// Returns the filter and the groups of these parameters. Fails if the caller may not
            /// see the usage, or if the period is not valid.
            pub(super) async fn resolve(
                &self,
                accounts: &Accounts,
                caller: &mut Caller,
            ) -> Result<(UsageFilter, GroupBy), ApiError> {
                let user_id = caller.scope_to_user(Scope::UsageRead, self.user_id.map(UserId)).await?;
                let credential_id = self.credential_id.map(CredentialId);
                if let Some(key) = credential_id {
                    require_own_key(accounts, caller, key).await?;
                }
                let groups = self.group_by.map_or_else(GroupBy::default, |groups| groups.0);
                let (from, to) = (self.from.map(|bound| bound.0), self.to.map(|bound| bound.0));
                check_period(from, to, groups.hour, accounts.now())?;
                let model = self.model.as_ref().map(|model| model.as_str().to_owned());
                let filter = UsageFilter { from, to, user_id, credential_id, model };
                Ok((filter, GroupBy { sort: self.sort, ..groups }))
            }
        }
    };
}

filtered! {
    /// The filter, the groups, and the page of the totals.
    UsageQuery {
        /// The maximum number of rows.
        #[serde(default, deserialize_with = "number")]
        #[param(minimum = 1, maximum = 1000, default = 1000)]
        pub(super) limit: Option<i64>,
        /// The number of rows to skip.
        #[serde(default, deserialize_with = "number")]
        #[param(minimum = 0, maximum = 4_294_967_295_i64, default = 0)]
        pub(super) offset: Option<i64>,
    }
}

filtered! {
    /// The filter, the groups, and the format of an export.
    ExportUsage {
        /// The format: `csv` or `ndjson`.
        #[serde(default, deserialize_with = "parsed")]
        #[param(value_type = Option<ExportFormat>, inline, default = "csv")]
        pub(super) format: Option<ExportFormat>,
    }
}

/// Checks the bounds of a period. Single requests are added up only over a bounded period.
fn check_period(from: Option<Timestamp>, to: Option<Timestamp>, by_hour: bool, now: Timestamp) -> Result<(), ApiError> {
    let invalid = |pointer: &str, detail: &str| Err(ApiError::invalid(vec![Violation::new(pointer, detail)]));
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        return invalid("?to", "must be later than from");
    }
    let is_within_day = [from, to].into_iter().flatten().any(|bound| Day::of(bound).start() != bound);
    if !by_hour && !is_within_day {
        return Ok(());
    }
    match from {
        None => invalid("?from", "is required for groups by hour, and for a period that ends within a day"),
        Some(from) if to.unwrap_or(now).since(from) > MAX_PERIOD => invalid(
            "?from",
            "must be at most 31 days before to, or before now, for groups by hour and for a period that begins or ends \
             within a day",
        ),
        Some(_) => Ok(()),
    }
}

/// Denies a key of another user, unless the caller may see all usage. A key that does not exist is
/// denied in the same words.
async fn require_own_key(accounts: &Accounts, caller: &Caller, key: CredentialId) -> Result<(), ApiError> {
    if caller.principal().may(Permission::Manage(Scope::UsageRead)).is_ok() {
        return Ok(());
    }
    match with_db_timeout(accounts.credentials().find(key)).await? {
        Some(credential) if credential.user_id == caller.principal().user_id => Ok(()),
        _ => Err(caller.deny("this key is not yours".to_owned()).await),
    }
}
