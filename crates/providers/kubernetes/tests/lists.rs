//! Lists of several pages, pages that come too late, and kinds that aren't there.

use freehold_engine::Provider as _;
use freehold_problem::Code;
use serde_json::json;

use crate::proxy::{Proxy, ProxyAction};
use crate::stage::{Stage, rejected};

const MAPS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A stack with five ConfigMaps, the same through a proxy, the proxy, and what is to be found of the stack.
async fn staged(test: &str) -> Option<(Stage, Stage, Proxy, Vec<String>)> {
    let stage = Stage::settled(test).await?;
    for name in MAPS {
        stage.deploy(&stage.config_map(name, &json!({"A": "1"}))).await;
    }
    let proxy = Proxy::start(stage.control.admin()).await;
    let through = stage.as_user(&proxy.access());
    let owned = stage.owned().await;
    assert_eq!(owned.iter().filter(|object| object.starts_with("configmap")).count(), MAPS.len(), "{owned:?}");
    Some((stage, through, proxy, owned))
}

/// Pages of two objects, whatever was asked for.
fn in_pages_of_two(path: &str) -> ProxyAction {
    ProxyAction::Instead(path.replace("limit=500", "limit=2"))
}

fn is_later_page(path: &str) -> bool {
    path.contains("configmaps") && path.contains("continue=")
}

#[tokio::test]
async fn a_list_of_several_pages_is_whole() {
    let Some((_stage, through, proxy, owned)) = staged("a_list_of_several_pages_is_whole").await else { return };
    proxy.rule(|_, path| in_pages_of_two(path));
    assert_eq!(through.owned().await, owned);
    assert_eq!(proxy.seen().iter().filter(|request| is_later_page(request)).count(), 2, "{:?}", proxy.seen());
}

#[tokio::test]
async fn a_list_whose_page_comes_too_late_is_begun_again() {
    let Some((_stage, through, proxy, owned)) = staged("a_list_whose_page_comes_too_late").await else { return };
    let mut pages = 0;
    proxy.rule(move |_, path| {
        pages += u32::from(is_later_page(path));
        if is_later_page(path) && pages == 2 { ProxyAction::Gone } else { in_pages_of_two(path) }
    });
    assert_eq!(through.owned().await, owned, "nothing twice, nothing left out");
    assert_eq!(proxy.seen().iter().filter(|request| is_later_page(request)).count(), 4, "{:?}", proxy.seen());
}

#[tokio::test]
async fn nothing_is_of_a_kind_that_is_not_installed_and_kubernetes_own_have_to_be_there() {
    let Some((_stage, through, proxy, owned)) = staged("nothing_is_of_a_kind_that_is_not_installed").await else {
        return;
    };
    proxy.rule(|_, path| ProxyAction::Instead(path.replace("/cert-manager.io/", "/absent.example.org/")));
    assert_eq!(through.owned().await, owned);

    proxy.rule(|_, path| ProxyAction::Instead(path.replace("/configmaps", "/absent")));
    let error = through.provider.owned(Some(through.stack)).await.unwrap_err();
    assert_eq!(rejected(&error).0, Code::KindUnknown, "{error:?}");
}
