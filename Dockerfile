# Freehold as an image: one static program, nothing else. For `freehold install`.
#
#   docker build -t registry.example.org/freehold:0.1.0 .
#
# The tests make the same image without an engine: docs/kubernetes.md says how.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# glibc, linked statically: it resolves names as every other program on Linux does.
RUN RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --target "$(uname -m)-unknown-linux-gnu" --package freehold-cli --bin freehold \
    && cp "target/$(uname -m)-unknown-linux-gnu/release/freehold" /freehold

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /freehold /freehold
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/freehold"]
