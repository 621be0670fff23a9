//! Region, credentials and endpoints, from where every AWS program takes them.

use aws_config::{BehaviorVersion, SdkConfig};
use tokio::sync::OnceCell;

/// What the environment of this process says; read on first use, then kept.
pub async fn environment() -> &'static SdkConfig {
    static ENVIRONMENT: OnceCell<SdkConfig> = OnceCell::const_new();
    ENVIRONMENT.get_or_init(|| aws_config::load_defaults(BehaviorVersion::latest())).await
}
