FROM busybox AS build
FROM scratch AS last
COPY go.mod go.sum ./
COPY --from=build /out/* /bin/
COPY --from=0 /etc/passwd /etc/
COPY --from=docker.io/library/alpine:3.20 /etc/os-release /
COPY --chown=1000:1001 --chmod=0755 a /a
COPY --chown=app --chmod=u=rwX,go=rX b /b
COPY --chown=app: --from=build /b2 /b2
COPY --link c /c
COPY --link --chmod=4755 d /d
COPY --parents x/./y/*.txt /p/
COPY --exclude=*.md --exclude=docs/** . /src
COPY <<one <<"two" /here/
expanded
one
$literal
two
COPY <<script /run.sh
#!/bin/sh
script
ADD app.tar.gz /opt/
ADD --unpack=false app.tar.gz /raw/
ADD --chown=7:8 --link e /e
WORKDIR /w
WORKDIR sub
