# Two images without a shell or anything else than the programs and the libraries that they load:
#   docker build --target cli -t small-etl .            docker run --rm --read-only --tmpfs /tmp small-etl --help
#   docker build --target lambda -t small-etl-lambda .  both functions; the entry point says which (ingest)
# The first build compiles DuckDB: half an hour or more on two cores.

# An image with Rust and what C and C++ are built with; or one that has the programs in /programs already.
ARG BUILDER=rust:1-bookworm

FROM $BUILDER AS build
WORKDIR /source
COPY . .
RUN [ -x /programs/ingest ] || { cargo build --release --locked --bins && mkdir /programs \
    && cp target/release/ingest target/release/migrate target/release/small-etl /programs; }
# What the programs load, the authorities that a Debian trusts, and those of the database, where the deployment has put them.
RUN mkdir -p /root-of/etc/ssl/certs /root-of/tmp /root-of/var/task \
    && chmod 1777 /root-of/tmp \
    && ldd /programs/* | grep -oE '/[^ :()]+\.so[^ :()]*' | sort -u | while read -r library; do \
        cp --dereference --parents "$library" /root-of || exit 1; done \
    && cp /etc/ssl/certs/ca-certificates.crt /root-of/etc/ssl/certs/ \
    && echo 'small-etl:x:65532:65532::/tmp:/' > /root-of/etc/passwd \
    && { [ ! -e rds.pem ] || cp rds.pem /root-of/var/task/; }

FROM scratch AS lambda
COPY --from=build /root-of /
COPY --from=build /programs/ingest /programs/migrate /usr/local/bin/
WORKDIR /var/task
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/ingest"]

FROM scratch AS cli
COPY --from=build /root-of /
COPY --from=build /programs/small-etl /usr/local/bin/
WORKDIR /work
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/small-etl"]
