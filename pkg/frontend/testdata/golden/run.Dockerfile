ARG BASE=busybox
FROM --platform=$BUILDPLATFORM ${BASE} AS tools
SHELL ["/bin/sh", "-ec"]
WORKDIR src
ENV A=1 B=$A
USER 1000:1000
RUN echo shell
RUN ["/bin/exec", "form"]
RUN --network=none echo offline
RUN --network=host echo host
RUN --security=insecure mount
RUN <<EOT
echo heredoc
EOT
RUN <<EOT
#!/usr/bin/env python
print("script")
EOT
RUN cat <<one > /a && cat <<-two > /b
first
one
	second
	two

FROM busybox
ARG TARGETARCH
ARG HTTP_PROXY
RUN --mount=type=bind,target=/ctx \
    --mount=type=bind,from=tools,source=/src,target=/from,rw \
    --mount=type=bind,from=alpine:3.20,target=/image \
    --mount=type=cache,target=/root/.cache \
    --mount=type=cache,id=mine,target=/owned,sharing=locked,uid=7,gid=8,mode=0700 \
    --mount=type=cache,target=/seeded,from=tools,source=/src,sharing=private \
    --mount=type=tmpfs,target=/tmp,size=64m \
    --mount=type=secret,id=token \
    --mount=type=secret,id=key,target=/key,uid=1,gid=2,mode=0440,required=true \
    --mount=type=secret,id=pass,env=PASS \
    --mount=type=ssh,id=default,required \
    make $TARGETARCH
