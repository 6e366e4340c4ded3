# escape=`
# check=skip=all
FROM busybox AS base
ONBUILD COPY onbuild /onbuild
MAINTAINER somebody
LABEL a=b "c d"='e f'
ENV PATH=/x:$PATH OLD=style
EXPOSE 80 53/udp
VOLUME ["/data"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=3s --start-period=1s --start-interval=2s --retries=3 CMD true
CMD echo `
    hello
ENTRYPOINT ["/entry"]
FROM base
USER nobody
WORKDIR /home
RUN echo run
